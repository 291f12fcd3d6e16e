# SPDX-License-Identifier: Apache-2.0
"""What enters a workload: clusters to the application, listeners with the mutual TLS that policy demands, and the routes between them.

All of it follows from one frozen value, `Inbound`, which replicas of a workload share.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.core.v3 import base_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.config.route.v3 import route_pb2

from common.config.kinds.mesh import MeshConfig
from common.mesh.names import PASSTHROUGH_BIND, SIDECAR_INBOUND
from pilot.model.authentication import MutualTls
from pilot.model.destination_rules import HostRule, effective_policy
from pilot.model.proxy import Proxy
from pilot.model.push import PushContext
from pilot.model.service import MAX_PORT, Protocol, ServiceKey
from pilot.networking import tls
from pilot.networking.check import CheckSettings
from pilot.networking.filters import FilterChain, inbound_http, listener_filter, tcp_proxy
from pilot.networking.mixerclient import SERVICE_METADATA, MeshService, service_metadata
from pilot.networking.names import INBOUND_PASSTHROUGH, VIRTUAL_INBOUND, WILDCARD_ADDRESS, inbound_cluster
from pilot.networking.route import inbound_route
from pilot.networking.traffic_policy import apply_connection_pool, apply_protocol, set_unlimited
from pilot.networking.wire import optional_seconds, set_seconds, set_socket

Cluster = cluster_pb2.Cluster
Listener = listener_pb2.Listener

_DETECTION_SECONDS: Final = 1.0
"""How long the inbound side waits for a client's first bytes before it takes the connection for one whose server speaks first."""


@dataclass(frozen=True, slots=True)
class Served:
    """One service's claim on a port of the workload."""

    service: ServiceKey
    name: str
    port: int
    port_name: str
    protocol: Protocol

    @property
    def mesh_service(self) -> MeshService:
        return MeshService(host=self.service.hostname, name=self.name, namespace=self.service.namespace)


@dataclass(frozen=True, slots=True)
class InboundPort:
    """One port of the workload. The first (oldest) service names its cluster and decides its protocol."""

    number: int
    mode: MutualTls
    services: tuple[Served, ...]

    @property
    def cluster(self) -> str:
        first = self.services[0]
        return inbound_cluster(first.service.hostname, first.port, first.port_name)

    @property
    def protocol(self) -> Protocol:
        return self.services[0].protocol


@dataclass(frozen=True)
class Inbound:
    """Everything that inbound resources depend on besides the mesh's settings."""

    namespace: str
    ports: tuple[InboundPort, ...]
    other_ports: MutualTls
    """The mode of ports that no service has."""
    bind: str
    """Where the listeners are bound, port by port; empty when one virtual listener catches all (REDIRECT)."""
    application: str

    def __hash__(self) -> int:
        return self._hash

    @cached_property
    def _hash(self) -> int:
        """Computed once: it is a part of every key of a proxy's own groups, and those are looked up for each proxy at each push."""
        return hash((self.namespace, self.ports, self.other_ports, self.bind, self.application))

    @classmethod
    def of(cls, push: PushContext, proxy: Proxy) -> Inbound:
        """The inbound side of a sidecar, by the services that select it."""
        served: dict[int, list[Served]] = {}
        workload = push.catalog.workload_at(proxy.namespace, proxy.address)
        for service in push.catalog.served_by(proxy.namespace, proxy.labels, proxy.addresses):
            listed = None
            if not service.selector:
                endpoints = push.catalog.endpoints(service.key).endpoints
                listed = next((endpoint for endpoint in endpoints if endpoint.address in proxy.addresses), None)
            for port in service.ports:
                if port.protocol is Protocol.UDP:
                    continue
                if listed is not None:
                    number = listed.ports.get(port.number, 0)
                elif workload is not None:
                    number = workload.port(port)
                else:
                    number = port.target_port if isinstance(port.target_port, int) and port.target_port else port.number
                if 0 < number <= MAX_PORT and number != SIDECAR_INBOUND:
                    claim = Served(service.key, service.name, port.number, port.name, port.protocol)
                    served.setdefault(number, []).append(claim)
        policies = push.peer_policies
        return cls(
            namespace=proxy.namespace,
            ports=tuple(
                InboundPort(
                    number=number,
                    mode=policies.mode(
                        proxy.namespace,
                        proxy.labels,
                        number,
                        hostname=claims[0].service.hostname,
                        service_port=(claims[0].port, claims[0].port_name),
                    ),
                    services=tuple(claims),
                )
                for number, claims in sorted(served.items())
            ),
            other_ports=policies.mode(proxy.namespace, proxy.labels, 0),
            bind=proxy.address if proxy.interception == "NONE" else "",
            application=proxy.application_address,
        )


def inbound_clusters(inbound: Inbound, mesh: MeshConfig, rules: dict[ServiceKey, HostRule]) -> Iterator[tuple[Cluster, InboundPort | None]]:
    """One static cluster for each port, with the port. Of a DestinationRule only the top-level connection pool counts on this side."""
    for port in inbound.ports:
        cluster = Cluster(name=port.cluster, type=Cluster.STATIC)
        assignment = cluster.load_assignment
        assignment.cluster_name = cluster.name
        endpoint = assignment.endpoints.add().lb_endpoints.add().endpoint
        set_socket(endpoint.address, inbound.application, port.number)
        rule = rules.get(port.services[0].service)
        pool = effective_policy(rule, "", None).connection_pool
        apply_connection_pool(cluster, pool, mesh)
        protocol = Protocol.TCP if port.protocol is Protocol.UNSUPPORTED else port.protocol
        apply_protocol(cluster, protocol, pool.http if pool is not None else None, mesh)
        cluster.metadata.filter_metadata[SERVICE_METADATA].MergeFrom(service_metadata(port.services[0].mesh_service))
        yield cluster, port
    if not inbound.bind:
        yield _passthrough(mesh), None


def _passthrough(mesh: MeshConfig) -> Cluster:
    """To the original destination, from an address that interception does not catch again."""
    cluster = Cluster(name=INBOUND_PASSTHROUGH, type=Cluster.ORIGINAL_DST, lb_policy=Cluster.CLUSTER_PROVIDED)
    set_seconds(cluster.connect_timeout, optional_seconds(mesh.connectTimeout) or 1.0)
    set_unlimited(cluster.circuit_breakers.thresholds.add())
    cluster.upstream_bind_config.source_address.address = PASSTHROUGH_BIND
    cluster.upstream_bind_config.source_address.port_value = 0
    return cluster


def inbound_listeners(inbound: Inbound, mesh: MeshConfig, *, holds_script: bool) -> Iterator[Listener]:
    """REDIRECT: one listener that holds the chains of all ports. NONE: one listener for each port.

    `holds_script`: of proxies that hold the check filter's text.
    """
    if inbound.bind:
        for port in inbound.ports:
            listener = _listener(f"{inbound.bind}_{port.number}", inbound.bind, port.number)
            _add_chains(listener, port, mesh, stat_address=inbound.bind, matched=False, holds_script=holds_script)
            _add_inspector(listener, [port.mode])
            yield listener
        return
    listener = _listener(VIRTUAL_INBOUND, WILDCARD_ADDRESS, SIDECAR_INBOUND)
    listener.listener_filters.append(listener_filter("original_dst"))
    _add_inspector(listener, [inbound.other_ports, *(port.mode for port in inbound.ports)])
    _add_loop_guard(listener, mesh)
    for port in inbound.ports:
        _add_chains(listener, port, mesh, stat_address=WILDCARD_ADDRESS, matched=True, holds_script=holds_script)
    for chain, _ in _tls_chains(listener, "passthrough", inbound.other_ports, mesh):
        tcp_proxy(chain, mesh, clusters=((INBOUND_PASSTHROUGH, 1),), stat_prefix=INBOUND_PASSTHROUGH, direction="inbound")
    yield listener


def _listener(name: str, address: str, port: int) -> Listener:
    listener = Listener(name=name, traffic_direction=base_pb2.INBOUND)
    set_socket(listener.address, address, port)
    set_seconds(listener.listener_filters_timeout, _DETECTION_SECONDS)
    listener.continue_on_listener_filters_timeout = True
    return listener


def _add_inspector(listener: Listener, modes: list[MutualTls]) -> None:
    """Only where TLS is possible: looking at the first bytes makes server-first protocols wait."""
    if any(mode is not MutualTls.DISABLE for mode in modes):
        listener.listener_filters.append(listener_filter("tls_inspector"))


def _add_loop_guard(listener: Listener, mesh: MeshConfig) -> None:
    """A connection made straight to the capture port has itself as its original destination."""
    chain = listener.filter_chains.add(name="virtualInbound-blackhole")
    chain.filter_chain_match.destination_port.value = SIDECAR_INBOUND
    tcp_proxy(chain, mesh, clusters=(("BlackHoleCluster", 1),), stat_prefix="BlackHoleCluster", direction=None, logged=False)


def _tls_chains(listener: Listener, name: str, mode: MutualTls, mesh: MeshConfig) -> Iterator[tuple[FilterChain, bool]]:
    """The chains that a mode needs, with whether the peer is authenticated. PERMISSIVE tells mesh clients by what they offer in ALPN."""
    if mode is not MutualTls.DISABLE:
        chain = listener.filter_chains.add(name=f"{name}-mtls")
        if mode is MutualTls.PERMISSIVE:
            chain.filter_chain_match.transport_protocol = "tls"
            chain.filter_chain_match.application_protocols.append(tls.MESH_ALPN)
        tls.mutual_downstream(chain.transport_socket, trust_domains=(mesh.trustDomain, *mesh.trustDomainAliases))
        yield chain, True
    if mode is not MutualTls.STRICT:
        yield listener.filter_chains.add(name=name), False


def _add_chains(listener: Listener, port: InboundPort, mesh: MeshConfig, *, stat_address: str, matched: bool, holds_script: bool) -> None:
    stat_prefix = f"inbound_{stat_address}_{port.number}"
    for chain, mutual in _tls_chains(listener, f"{stat_address}_{port.number}", port.mode, mesh):
        if matched:
            chain.filter_chain_match.destination_port.value = port.number
        if port.protocol.is_http:
            inbound_http(
                chain,
                mesh,
                port.protocol,
                stat_prefix=stat_prefix,
                route_config=port.cluster,
                mutual=mutual,
                holds_script=holds_script,
            )
        else:
            tcp_proxy(chain, mesh, clusters=((port.cluster, 1),), stat_prefix=port.cluster, direction="inbound")


def inbound_routes(name: str, port: InboundPort | None, check: CheckSettings) -> route_pb2.RouteConfiguration:
    """The routes of one inbound port; an empty configuration for a name that the workload does not have (any more)."""
    configuration = route_pb2.RouteConfiguration(name=name)
    configuration.validate_clusters.value = False
    if port is None or not port.protocol.is_http:
        return configuration
    first = port.services[0]
    virtual_host = configuration.virtual_hosts.add(name=f"inbound|http|{first.port}", domains=["*"])
    route = inbound_route(port.cluster, f"{first.service.hostname}:{first.port}/*")
    route.metadata.filter_metadata[SERVICE_METADATA].MergeFrom(service_metadata(first.mesh_service))
    check.apply(route, tuple(dict.fromkeys(served.mesh_service for served in port.services)), direction="inbound")
    virtual_host.routes.append(route)
    return configuration
