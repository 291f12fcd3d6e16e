# SPDX-License-Identifier: Apache-2.0
"""The kinds of groups: what each is keyed by (its fields), what its output depends on, and how it is made."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from envoy.config.endpoint.v3 import endpoint_pb2

from common.config.kinds.networking import GATEWAY
from common.config.resource import ResourceKey
from pilot.model.destination_rules import HostRule
from pilot.model.labels import LabelSet
from pilot.model.push import PushContext
from pilot.model.service import Resolution, Service, ServiceKey
from pilot.model.virtual_services import MESH
from pilot.networking.check import CheckSettings
from pilot.networking.cluster import ServiceView, service_clusters, special_clusters
from pilot.networking.endpoint import load_assignment
from pilot.networking.gateway import GatewayPort, gateway_listener, gateway_routes, merge
from pilot.networking.inbound import Inbound, InboundPort, inbound_clusters, inbound_listeners, inbound_routes
from pilot.networking.locality import apply_locality
from pilot.networking.outbound_listener import ListenerDraft, build_listener, draft_listeners, virtual_outbound
from pilot.networking.resource import Generated, generated
from pilot.networking.route_match import Place
from pilot.networking.virtual_host import discovered_routes, outbound_hosts, outbound_routes


class Group(Protocol):
    """A hashable value: everything about a proxy that the group's resources may depend on."""

    def fingerprint(self, push: PushContext) -> Hashable:
        """Hashes of all configuration that the output depends on."""
        ...

    def generate(self, push: PushContext) -> Iterable[Generated]:
        """A tuple, which must have each name once, may be shared with other groups; of anything else the first of a name counts."""
        ...


@dataclass(frozen=True, slots=True)
class OutboundClusters:
    """Clusters of all services that a namespace sees."""

    namespace: str
    sidecar: bool
    captures: bool
    """The proxy knows a connection's original destination (a sidecar in REDIRECT mode)."""

    def fingerprint(self, push: PushContext) -> Hashable:
        scope, catalog = push.scope(self.namespace, router=not self.sidecar), push.catalog
        inlined = tuple(catalog.endpoints(service.key).digest for service in scope.services if service.resolution is Resolution.DNS)
        policies = push.authentication_digest if inlined else b""
        return (push.mesh_digest, scope.services_digest, scope.destinations_digest, catalog.accounts_digest, inlined, policies)

    def generate(self, push: PushContext) -> tuple[Generated, ...]:
        """One object for all namespaces that see the same."""
        key = ("outbound clusters", self.sidecar, self.captures, self.fingerprint(push))
        return push.memo.get(key, lambda: tuple(self._generate(push)))

    def _generate(self, push: PushContext) -> Iterator[Generated]:
        for cluster in special_clusters(push.mesh, sidecar=self.sidecar):
            yield generated(cluster.name, cluster)
        for service in push.scope(self.namespace, router=not self.sidecar).services:
            yield from self._service(push, service)

    def _service(self, push: PushContext, service: Service) -> tuple[Generated, ...]:
        rule = push.scope(self.namespace, router=not self.sidecar).destination_rule(service)
        endpoints = push.catalog.endpoints(service.key)
        view = ServiceView(service, rule, endpoints, push.mesh, push.peer_policies, self.captures)
        inlined = (endpoints.digest, push.authentication_digest) if service.resolution is Resolution.DNS else ()
        inputs = (push.mesh_digest, service.digest, rule.digest if rule is not None else b"", endpoints.accounts, inlined)
        return push.memo.get(
            ("clusters", self.captures, inputs),
            lambda: tuple(generated(cluster.name, cluster, view.sources) for cluster in service_clusters(view)),
        )


@dataclass(frozen=True, slots=True)
class InboundClusters:
    """Clusters from a sidecar to its application."""

    inbound: Inbound

    def fingerprint(self, push: PushContext) -> Hashable:
        return (push.mesh_digest, *((key, rule.digest) for key, rule in self._rules(push).items()))

    def generate(self, push: PushContext) -> Iterator[Generated]:
        rules = self._rules(push)
        for cluster, port in inbound_clusters(self.inbound, push.mesh, rules):
            rule = rules.get(port.services[0].service) if port is not None else None
            yield generated(cluster.name, cluster, rule.sources if rule is not None else ())

    def _rules(self, push: PushContext) -> dict[ServiceKey, HostRule]:
        scope = push.scope(self.inbound.namespace)
        found = ((port.services[0].service, push.catalog.by_key.get(port.services[0].service)) for port in self.inbound.ports)
        rules = ((key, scope.destination_rule(service)) for key, service in found if service is not None)
        return {key: rule for key, rule in rules if rule is not None}


@dataclass(frozen=True, slots=True)
class Endpoints:
    """The load assignment of one EDS cluster. `service` is None for a name that means nothing here: it has no endpoints then."""

    cluster: str
    service: ServiceKey | None = None
    port: int = 0
    labels: LabelSet | None = ()
    """The subset's labels; None for a subset that no rule defines."""
    locality: str = ""
    """Of the clients; empty when the mesh has no locality load balancing."""
    detects_failure: bool = False
    """The cluster has outlier detection, so priorities make sense."""

    def fingerprint(self, push: PushContext) -> Hashable:
        if self.service is None or self.labels is None:
            return None
        locality = push.locality_digest if self.locality else b""
        return (push.catalog.endpoints(self.service).digest, push.authentication_digest, locality)

    def generate(self, push: PushContext) -> Iterator[Generated]:
        service = push.catalog.by_key.get(self.service) if self.service is not None else None
        port = service.port(self.port) if service is not None else None
        if service is None or port is None or self.labels is None:
            yield generated(self.cluster, endpoint_pb2.ClusterLoadAssignment(cluster_name=self.cluster))
            return
        known = push.catalog.endpoints(service.key).endpoints
        assignment = load_assignment(self.cluster, service, port, known, labels=dict(self.labels), policies=push.peer_policies)
        if self.locality and push.mesh.localityLbSetting is not None:
            apply_locality(assignment, push.mesh.localityLbSetting, self.locality, detects_failure=self.detects_failure)
        yield generated(self.cluster, assignment, (service.source, *(endpoint.source for endpoint in known)))


@dataclass(frozen=True, slots=True)
class OutboundListeners:
    """Listeners for a sidecar's outgoing connections. `bind` is empty in REDIRECT mode."""

    namespace: str
    bind: str
    met: tuple[LabelSet, ...]

    def fingerprint(self, push: PushContext) -> Hashable:
        scope = push.scope(self.namespace)
        return (push.mesh_digest, scope.services_digest, scope.connection_rules_digest)

    def generate(self, push: PushContext) -> tuple[Generated, ...]:
        """One object for all namespaces that see the same."""
        return push.memo.get(("outbound listeners", self.bind, self.met, self.fingerprint(push)), lambda: tuple(self._generate(push)))

    def _generate(self, push: PushContext) -> Iterator[Generated]:
        for draft in draft_listeners(push.scope(self.namespace), push.mesh, bind=self.bind, met=self.met):
            yield push.memo.get(("listener", draft, push.mesh_digest), partial(_built, draft, push))
        if not self.bind:
            listener = virtual_outbound(push.mesh)
            yield generated(listener.name, listener)


def _built(draft: ListenerDraft, push: PushContext) -> Generated:
    return generated(draft.name, build_listener(draft, push.mesh), draft.sources)


@dataclass(frozen=True, slots=True)
class InboundListeners:
    """Listeners for connections to a sidecar's application."""

    inbound: Inbound
    holds_script: bool

    def fingerprint(self, push: PushContext) -> Hashable:
        return push.mesh_digest

    def generate(self, push: PushContext) -> Iterator[Generated]:
        for listener in inbound_listeners(self.inbound, push.mesh, holds_script=self.holds_script):
            yield generated(listener.name, listener)


@dataclass(frozen=True, slots=True)
class GatewayListeners:
    """Listeners of the Gateways that select a proxy."""

    namespace: str
    gateways: tuple[ResourceKey, ...]
    bind: str
    holds_script: bool

    def fingerprint(self, push: PushContext) -> Hashable:
        scope = push.scope(self.namespace, router=True)
        return (push.mesh_digest, push.digests[GATEWAY.collection], scope.services_digest, scope.rules_digest)

    def generate(self, push: PushContext) -> Iterator[Generated]:
        for port in gateway_ports(push, self.gateways):
            scope = push.scope(self.namespace, router=True)
            listener = gateway_listener(port, scope, push.mesh, bind=self.bind, holds_script=self.holds_script)
            if listener is not None:
                yield generated(listener.name, listener, port.sources)


@dataclass(frozen=True, slots=True)
class OutboundRoutes:
    """Routes of one outbound port, or of one sniffed service (`host:port`)."""

    namespace: str
    name: str
    port: int
    met: tuple[LabelSet, ...]

    def fingerprint(self, push: PushContext) -> Hashable:
        return _routing(push, self.namespace)

    def generate(self, push: PushContext) -> Iterator[Generated]:
        body, sources = outbound_routes(
            push.scope(self.namespace), self.name, _outbound(self.port, self.met), allow_any=_allows_any(push), memo=push.memo
        )
        yield Generated(self.name, body, sources)


@dataclass(frozen=True, slots=True)
class DiscoveredRoutes:
    """The route configuration of one outbound port for a proxy that discovers its virtual hosts."""

    name: str

    def fingerprint(self, push: PushContext) -> Hashable:
        return None

    def generate(self, push: PushContext) -> Iterator[Generated]:
        yield Generated(self.name, discovered_routes(self.name), ())


@dataclass(frozen=True, slots=True)
class OutboundVirtualHosts:
    """The virtual hosts of one outbound port, each a resource."""

    namespace: str
    port: int
    met: tuple[LabelSet, ...]

    def fingerprint(self, push: PushContext) -> Hashable:
        return _routing(push, self.namespace)

    def generate(self, push: PushContext) -> Iterator[Generated]:
        name, place = str(self.port), _outbound(self.port, self.met)
        scope, memo = push.scope(self.namespace), push.memo
        yield from outbound_hosts(scope, name, place, allow_any=_allows_any(push), memo=memo, prefix=f"{name}/")


def _routing(push: PushContext, namespace: str) -> Hashable:
    scope = push.scope(namespace)
    return (push.mesh_digest, scope.services_digest, scope.rules_digest, scope.destinations_digest)


def _outbound(port: int, met: tuple[LabelSet, ...]) -> Place:
    return Place(port, frozenset({MESH}), met)


def _allows_any(push: PushContext) -> bool:
    return push.mesh.outboundTrafficPolicy.mode == "ALLOW_ANY"


@dataclass(frozen=True, slots=True)
class InboundRoutes:
    """Routes of one inbound port; `port` is None for a name that the workload does not have."""

    name: str
    port: InboundPort | None

    def fingerprint(self, push: PushContext) -> Hashable:
        return push.check_digest if self.port is not None else None

    def generate(self, push: PushContext) -> Iterator[Generated]:
        yield generated(self.name, inbound_routes(self.name, self.port, CheckSettings(push)))


@dataclass(frozen=True, slots=True)
class GatewayRoutes:
    """Routes of one plain HTTP port of a gateway."""

    namespace: str
    gateways: tuple[ResourceKey, ...]
    name: str

    def fingerprint(self, push: PushContext) -> Hashable:
        scope = push.scope(self.namespace, router=True)
        return (
            push.digests[GATEWAY.collection],
            push.check_digest,
            scope.services_digest,
            scope.rules_digest,
            scope.destinations_digest,
        )

    def generate(self, push: PushContext) -> Iterator[Generated]:
        port = next((port for port in gateway_ports(push, self.gateways) if port.route_config == self.name), None)
        configuration, sources = gateway_routes(self.name, port, push.scope(self.namespace, router=True), CheckSettings(push))
        yield generated(self.name, configuration, sources)


def gateway_ports(push: PushContext, keys: tuple[ResourceKey, ...]) -> tuple[GatewayPort, ...]:
    """The merged ports of these Gateways."""
    found = (push.gateways.get(key) for key in keys)
    return merge([gateway for gateway in found if gateway is not None])
