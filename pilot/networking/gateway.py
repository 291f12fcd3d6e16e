# SPDX-License-Identifier: Apache-2.0
"""The edge: listeners and routes of the Gateways that select a proxy, merged port by port.

The oldest server of a port decides what the port is. Plain HTTP servers share one listener and one route configuration; TLS that the gateway only
passes through and plain TCP become filter chains. Servers that end TLS at the gateway are left out: not yet built.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from envoy.config.core.v3 import base_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.config.route.v3 import route_components_pb2, route_pb2

from common.config.kinds.mesh import MeshConfig
from common.config.kinds.networking import Gateway, Server
from common.config.resource import Resource, ResourceKey
from pilot.model import hosts
from pilot.model.scope import Scope
from pilot.model.service import MAX_PORT, Protocol
from pilot.model.virtual_services import RoutingRule
from pilot.networking.check import CheckSettings
from pilot.networking.domains import kept_domains
from pilot.networking.filters import gateway_http, listener_filter, tcp_proxy
from pilot.networking.names import WILDCARD_ADDRESS
from pilot.networking.route import Route, VirtualHost, rule_routes
from pilot.networking.route_match import Place, is_catch_all
from pilot.networking.tcp_route import TcpChain, distinct, tcp_chains, tls_chains
from pilot.networking.wire import set_socket
from pilot.registry import protocol as protocols

Listener = listener_pb2.Listener


@dataclass(frozen=True, slots=True)
class BoundServer:
    """One server of one Gateway, with its hosts taken apart."""

    gateway: ResourceKey
    server: Server
    hosts: tuple[tuple[str, str], ...]
    """(namespace of the rules that may attach, or `*`; host)"""

    @property
    def gateway_name(self) -> str:
        return self.gateway.mcp_name

    def hosts_for(self, rule: RoutingRule) -> tuple[str, ...]:
        """The hosts that the rule serves here: in both lists, the narrower of each pair."""
        if self.gateway_name not in rule.gateways:
            return ()
        offered = tuple(host for namespace, host in self.hosts if namespace in ("*", rule.namespace))
        return hosts.intersection(rule.hosts, offered)


@dataclass(frozen=True, slots=True)
class GatewayPort:
    """Everything that listens on one port."""

    number: int
    protocol: Protocol
    servers: tuple[BoundServer, ...]

    @property
    def route_config(self) -> str:
        return f"http.{self.number}" if self.protocol.is_http else ""

    @property
    def sources(self) -> tuple[ResourceKey, ...]:
        return tuple(dict.fromkeys(server.gateway for server in self.servers))


def merge(gateways: list[Resource[Gateway]]) -> tuple[GatewayPort, ...]:
    """Ports of the gateways, oldest first. A server that does not go with what its port already is, is left out."""
    ports: dict[int, list[BoundServer]] = {}
    kinds: dict[int, Protocol] = {}
    for gateway in gateways:
        for server in gateway.spec.servers:
            protocol = protocols.parse(server.port.protocol)
            if (
                not 0 < server.port.number <= MAX_PORT
                or protocol is Protocol.UNSUPPORTED
                or protocol is Protocol.UDP
                or _terminates(server)
            ):
                continue
            kind = kinds.setdefault(server.port.number, protocol)
            mergeable = kind is protocol and (protocol.is_http or protocol.is_tls)
            bound = ports.setdefault(server.port.number, [])
            if bound and not mergeable:
                continue
            bound.append(BoundServer(gateway.key, server, tuple(_split(host, gateway.namespace) for host in server.hosts)))
    return tuple(GatewayPort(number, kinds[number], tuple(servers)) for number, servers in sorted(ports.items()) if servers)


def _terminates(server: Server) -> bool:
    return server.tls is not None and (server.tls.mode != "PASSTHROUGH" or bool(server.tls.serverCertificate))


def _split(host: str, namespace: str) -> tuple[str, str]:
    """`ns/host`, `./host` (the gateway's namespace), `*/host` or plain `host` (rules of any namespace)."""
    space, slash, name = host.partition("/")
    if not slash:
        return "*", host
    return (namespace if space == "." else space), name


def gateway_listener(port: GatewayPort, scope: Scope, mesh: MeshConfig, *, bind: str, holds_script: bool) -> Listener | None:
    """The listener of a port, for gateways that hold the check filter's text or not; None when there is nothing to serve on it."""
    address = bind or WILDCARD_ADDRESS
    listener = Listener(name=f"{address}_{port.number}", traffic_direction=base_pb2.OUTBOUND)
    set_socket(listener.address, address, port.number)
    if port.protocol.is_http:
        edge, stat_prefix = listener.filter_chains.add(), f"outbound_{listener.name}"
        gateway_http(edge, mesh, stat_prefix=stat_prefix, route_config=port.route_config, holds_script=holds_script)
        return listener
    for chain in distinct(_chains(port, scope)):
        target = listener.filter_chains.add()
        if chain.server_names:
            target.filter_chain_match.server_names.extend(chain.server_names)
        tcp_proxy(target, mesh, clusters=chain.clusters, stat_prefix=chain.stat_prefix, direction="outbound")
    if port.protocol.is_tls:
        listener.listener_filters.append(listener_filter("tls_inspector"))
    return listener if listener.filter_chains else None


def _chains(port: GatewayPort, scope: Scope) -> Iterator[TcpChain]:
    for server in port.servers:
        place = Place(port.number, frozenset({server.gateway_name}))
        for rule in scope.rules:
            if server.hosts_for(rule):
                yield from (tls_chains if port.protocol.is_tls else tcp_chains)(scope, rule, place, ())


def gateway_routes(
    name: str, port: GatewayPort | None, scope: Scope, check: CheckSettings
) -> tuple[route_pb2.RouteConfiguration, tuple[ResourceKey, ...]]:
    """Routes of a plain HTTP port. Rules for one host are joined, their catch-alls last; without any rule everything is 404."""
    configuration = route_pb2.RouteConfiguration(name=name)
    configuration.validate_clusters.value = False
    if port is None:
        return configuration, ()
    routes: dict[str, list[Route]] = {}
    redirected: set[str] = set()
    sources: dict[ResourceKey, None] = dict.fromkeys(port.sources)
    for server in port.servers:
        place = Place(port.number, frozenset({server.gateway_name}))
        for rule in scope.rules:
            served = server.hosts_for(rule)
            if not served or not rule.spec.http:
                continue
            made = rule_routes(scope, rule, place, check)
            if not made:
                continue
            sources[rule.key] = None
            for host in served:
                routes.setdefault(host, []).extend(made)
                if server.server.tls is not None and server.server.tls.httpsRedirect:
                    redirected.add(host)
    virtual_hosts = []
    for host in sorted(routes, key=hosts.specificity):
        virtual_host = VirtualHost(name=f"{host}:{port.number}")
        virtual_host.domains.extend((host,) if host == "*" else (host, f"{host}:{port.number}"))
        virtual_host.routes.extend(sorted(routes[host], key=lambda route: is_catch_all(route.match)))
        if host in redirected:
            virtual_host.require_tls = VirtualHost.ALL
        virtual_hosts.append(virtual_host)
    kept = kept_domains([tuple(virtual_host.domains) for virtual_host in virtual_hosts])
    for virtual_host, domains in zip(virtual_hosts, kept, strict=True):
        if domains:
            virtual_host.domains[:] = domains
            configuration.virtual_hosts.append(virtual_host)
    if not configuration.virtual_hosts:
        _add_blackhole(configuration, port.number)
    return configuration, tuple(sources)


def _add_blackhole(configuration: route_pb2.RouteConfiguration, port: int) -> None:
    virtual_host = configuration.virtual_hosts.add(name=f"blackhole:{port}", domains=["*"])
    route = virtual_host.routes.add(name="default", match=route_components_pb2.RouteMatch(prefix="/"))
    route.direct_response.status = 404
