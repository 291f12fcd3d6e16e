# SPDX-License-Identifier: Apache-2.0
"""The routes of an outbound port: a virtual host for each visible service, and one for everything else.

A proxy gets them inside the port's route configuration (RDS), or, if it can, as resources of their own (VHDS): then one rule costs one virtual
host on the wire and not the thousand others of its port.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Final, NamedTuple

from envoy.config.route.v3 import route_components_pb2, route_pb2

from common.config.resource import ResourceKey
from common.mesh.names import SERVICE_DOMAIN
from pilot.model import hosts
from pilot.model.memo import Memo
from pilot.model.scope import Scope
from pilot.model.service import Service
from pilot.model.virtual_services import RoutingRule
from pilot.networking.domains import kept_domains, service_domains
from pilot.networking.mixerclient import INTERNAL_HEADERS
from pilot.networking.names import PASSTHROUGH
from pilot.networking.resource import Generated
from pilot.networking.route import Route, VirtualHost, default_route, rule_routes
from pilot.networking.route_match import Place
from pilot.networking.wire import embedded, serialize, set_ads

_VIRTUAL_HOSTS: Final = route_pb2.RouteConfiguration.VIRTUAL_HOSTS_FIELD_NUMBER
_ROUTES: Final = VirtualHost.ROUTES_FIELD_NUMBER
_EXTRA_HOST_PORT: Final = 80
"""Istio's rule: a host that is no registered service is routed on this port only."""


def discovered_routes(name: str) -> bytes:
    """The serialized configuration of a proxy that discovers the virtual hosts of this route configuration over the same stream."""
    configuration = route_pb2.RouteConfiguration(name=name)
    configuration.validate_clusters.value = False
    set_ads(configuration.vhds.config_source)
    return serialize(configuration)


def outbound_routes(scope: Scope, name: str, place: Place, *, allow_any: bool, memo: Memo) -> tuple[bytes, tuple[ResourceKey, ...]]:
    """The serialized configuration with all its virtual hosts."""
    virtual_hosts = outbound_hosts(scope, name, place, allow_any=allow_any, memo=memo)
    settings = route_pb2.RouteConfiguration()
    settings.validate_clusters.value = False
    framed = [embedded(_VIRTUAL_HOSTS, virtual_host.body) for virtual_host in virtual_hosts]
    body = b"".join((serialize(route_pb2.RouteConfiguration(name=name)), *framed, serialize(settings)))  # in the order of fields
    return body, tuple(dict.fromkeys(source for virtual_host in virtual_hosts for source in virtual_host.sources))


def outbound_hosts(scope: Scope, name: str, place: Place, *, allow_any: bool, memo: Memo, prefix: str = "") -> list[Generated]:
    """The virtual hosts of a route configuration. `name` is the port, or `host:port` for the listener of one sniffed service, which has no
    catch-all. `prefix` goes before the name of each: discovered ones are called `name of the route configuration/name`.

    They are kept as bytes from push to push: a rule costs those that it names.
    """
    builder = _Builder(scope, place, name.rpartition(":")[0], memo, prefix)
    virtual_hosts, catches_all = builder.hosts()
    if not builder.only and not catches_all:
        rest = _catch_all(allow_any, prefix)
        virtual_hosts.append(Generated(rest.name, serialize(rest), ()))
    return virtual_hosts


class _Host(NamedTuple):
    """One virtual host. Fields are serialized in the order of their numbers, and routes come last: so its bytes are a join."""

    hostname: str
    name: str
    domains: tuple[str, ...]
    routes: bytes
    source: ResourceKey

    @property
    def head(self) -> bytes:
        """All but the routes."""
        return serialize(VirtualHost(name=self.name, domains=self.domains))


class _Made(NamedTuple):
    """A virtual host and its bytes, which all namespaces share that have the same."""

    host: _Host
    head: bytes
    generated: Generated


class _Defaults(NamedTuple):
    """The virtual hosts of a port's services as they are without any rule, in the order in which they are written."""

    hosts: tuple[Generated, ...]
    heads: tuple[bytes, ...]
    """Of each, its name and domains alone, serialized. In a conflict the oldest service keeps a domain."""
    place: Mapping[str, int]
    """By host: which of them is its."""
    catches_all: bool


class _Assignment(NamedTuple):
    """Which rule has which host: the first that names it."""

    ruled: Mapping[str, RoutingRule]
    """Of registered hosts."""
    extra: Mapping[str, RoutingRule]
    """Of hosts that need a virtual host of their own."""


class _Builder:
    """Makes the virtual hosts of one port for one namespace, from what other namespaces and the push before have made already."""

    def __init__(self, scope: Scope, place: Place, only: str, memo: Memo, prefix: str):
        self._scope, self._place, self._memo, self._prefix = scope, place, memo, prefix
        self.only = only
        """The one service whose virtual host is wanted; empty for all."""
        self._own = f".{scope.namespace}.{SERVICE_DOMAIN}"
        self._port = (place.port, place.gateways, tuple(place.met), scope.targets_digest)

    def hosts(self) -> tuple[list[Generated], bool]:
        """All virtual hosts, and whether one of them takes every request."""
        assignment = self._memo.get(("rules of a port", self.only, self._scope.rules_digest, self._port), self._assign)
        if assignment.extra:  # their domains compete with those of the services
            return self._competing(assignment)
        kept = ("default virtual hosts", self._scope.namespace, self.only, self._place.port, self._prefix)
        defaults = self._memo.keep(kept, self._scope.targets_digest, self._defaults)
        hosts = list(defaults.hosts)
        for host, rule in assignment.ruled.items():
            index = defaults.place.get(host)
            if index is not None:
                hosts[index] = self._ruled_host(hosts[index].name, defaults.heads[index], rule)
        return hosts, defaults.catches_all

    def _services(self) -> Sequence[Service]:
        """Oldest first."""
        routed = self._scope.routed_on_port(self._place.port)
        return [service for service in routed if service.hostname == self.only] if self.only else routed

    def _assign(self) -> _Assignment:
        services = self._services()
        hostnames = {service.hostname for service in services}
        ruled: dict[str, RoutingRule] = {}
        extra: dict[str, RoutingRule] = {}
        for rule in self._scope.mesh_rules:
            if not rule.spec.http:
                continue
            matched: list[str] = []
            unknown: list[str] = []
            for host in rule.hosts:
                if host in hostnames:
                    matched.append(host)
                elif hosts.is_wildcard(host) and host not in self._scope.by_host:
                    matched += [name for name in hostnames if hosts.covers(host, name)]
                if not self.only and self._is_extra(host, services):
                    unknown.append(host)
            if (matched or unknown) and self._serialized_routes(rule):
                for host in matched:
                    ruled.setdefault(host, rule)
                for host in unknown:
                    extra.setdefault(host, rule)
        return _Assignment(ruled, extra)

    def _competing(self, assignment: _Assignment) -> tuple[list[Generated], bool]:
        """The oldest service keeps a domain; hosts that nobody registered come last."""
        wanted = []
        for service in self._services():
            host, rule = self._default(service).host, assignment.ruled.get(service.hostname)
            wanted.append(host if rule is None else host._replace(routes=self._serialized_routes(rule), source=rule.key))
        for hostname, rule in assignment.extra.items():
            domains = (hostname,) if hostname == "*" else (hostname, f"{hostname}:{self._place.port}")
            wanted.append(_Host(hostname, self._name(hostname), domains, self._serialized_routes(rule), rule.key))
        found = self._without_conflicts([self._made(host) for host in wanted])
        return [made.generated for made in found], _catches_all(found)

    def _name(self, host: str) -> str:
        return f"{self._prefix}{host}:{self._place.port}"

    def _defaults(self) -> _Defaults:
        found = self._without_conflicts([self._default(service) for service in self._services()])
        return _Defaults(
            hosts=tuple(made.generated for made in found),
            heads=tuple(made.head for made in found),
            place={made.host.hostname: index for index, made in enumerate(found)},
            catches_all=_catches_all(found),
        )

    def _without_conflicts(self, wanted: list[_Made]) -> list[_Made]:
        """By name, each domain once."""
        found = []
        for made, domains in zip(wanted, kept_domains([made.host.domains for made in wanted]), strict=True):
            if domains:
                found.append(made if domains is made.host.domains else self._made(made.host._replace(domains=domains)))
        return sorted(found, key=lambda made: made.host.name)

    def _made(self, host: _Host) -> _Made:
        head = host.head
        return _Made(host, head, Generated(host.name, head + host.routes, (host.source,)))

    def _default(self, service: Service) -> _Made:
        """Of a service that no rule names; the same in all namespaces but its own, where it has more domains."""
        rule = self._scope.destination_rule(service)
        own = service.hostname.endswith(self._own)
        key = (
            "default virtual host",
            service.key,
            service.digest,
            self._place.port,
            self._prefix,
            rule.digest if rule is not None else b"",
            own,
        )
        return self._memo.get(key, partial(self._default_host, service))

    def _default_host(self, service: Service) -> _Made:
        port = service.port(self._place.port)
        routes = [default_route(self._scope, service, port)] if port is not None else []
        domains = tuple(service_domains(service, self._place.port, self._scope.namespace))
        return self._made(_Host(service.hostname, self._name(service.hostname), domains, _serialized(routes), service.source))

    def _ruled_host(self, name: str, head: bytes, rule: RoutingRule) -> Generated:
        routes = self._serialized_routes(rule)
        return self._memo.get(("ruled virtual host", head, routes, rule.key), lambda: Generated(name, head + routes, (rule.key,)))

    def _serialized_routes(self, rule: RoutingRule) -> bytes:
        """Those of one rule are the same in all namespaces that see the same services and destination rules."""
        key = ("rule's routes", rule.digest, self._port)
        return self._memo.get(key, lambda: _serialized(rule_routes(self._scope, rule, self._place)))

    def _is_extra(self, host: str, services: Sequence[Service]) -> bool:
        """The host needs a virtual host of its own: one name under a wildcard service of this port, or a name that nobody registered.

        Istio 1.4 gave the whole wildcard service to a rule for one of its names; here the other names keep their own route.
        """
        if host in self._scope.by_host:
            return False
        if not hosts.is_wildcard(host) and any(hosts.covers(service.hostname, host) for service in services):
            return True
        if self._place.port != _EXTRA_HOST_PORT:
            return False
        candidates = self._scope.services if hosts.is_wildcard(host) else self._scope.wildcard_services
        return not any(hosts.overlaps(host, service.hostname) for service in candidates)


def _serialized(routes: Iterable[Route]) -> bytes:
    """As fields of a virtual host."""
    return b"".join([embedded(_ROUTES, serialize(route)) for route in routes])


def _catches_all(found: Iterable[_Made]) -> bool:
    return any("*" in made.host.domains for made in found)


def _catch_all(allow_any: bool, prefix: str) -> VirtualHost:
    """Requests for hosts that nobody registered: to where they were going anyway, or 502."""
    name = "allow_any" if allow_any else "block_all"
    virtual_host = VirtualHost(name=f"{prefix}{name}", domains=["*"])
    route = virtual_host.routes.add(name=name, match=route_components_pb2.RouteMatch(prefix="/"))
    if allow_any:
        route.route.cluster = PASSTHROUGH
        route.request_headers_to_remove.extend(INTERNAL_HEADERS)
    else:
        route.direct_response.status = 502
    return virtual_host
