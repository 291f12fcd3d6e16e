# SPDX-License-Identifier: Apache-2.0
"""The routes of an outbound port: a virtual host for each visible service, and one for everything else.

A proxy gets them inside the port's route configuration (RDS), or, if it can, as resources of their own (VHDS): then one rule costs one virtual
host on the wire and not the thousand others of its port.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Final, NamedTuple

from envoy.config.route.v3 import route_components_pb2, route_pb2

from common.config.resource import ResourceKey
from pilot.model import hosts
from pilot.model.memo import Memo
from pilot.model.scope import Scope
from pilot.model.service import Port, Service
from pilot.model.virtual_services import RoutingRule
from pilot.networking.mixerclient import INTERNAL_HEADERS
from pilot.networking.names import PASSTHROUGH
from pilot.networking.resource import Generated
from pilot.networking.route import Route, VirtualHost, default_route, rule_routes
from pilot.networking.route_match import Place
from pilot.networking.wire import embedded, is_value, serialize, set_ads

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

    def _services(self) -> list[Service]:
        routed = self._scope.routed_on_port(self._place.port)
        return [service for service in routed if service.hostname == self.only] if self.only else list(routed)

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
            if (matched or unknown) and self._routes(rule):
                for host in matched:
                    ruled.setdefault(host, rule)
                for host in unknown:
                    extra.setdefault(host, rule)
        return _Assignment(ruled, extra)

    def _competing(self, assignment: _Assignment) -> tuple[list[Generated], bool]:
        services = self._services()
        virtual_hosts = self._virtual_hosts(services, assignment)
        sources = {self._name(service.hostname): service.source for service in services}
        sources.update({self._name(host): rule.key for host, rule in (*assignment.ruled.items(), *assignment.extra.items())})
        found = [Generated(each.name, serialize(each), (sources[each.name],)) for each in virtual_hosts]
        return found, _catches_all(virtual_hosts)

    def _name(self, host: str) -> str:
        return f"{self._prefix}{host}:{self._place.port}"

    def _defaults(self) -> _Defaults:
        services = self._services()
        by_name = {self._name(service.hostname): service for service in services}
        virtual_hosts = self._virtual_hosts(services, _Assignment({}, {}))
        heads = (serialize(VirtualHost(name=each.name, domains=each.domains)) for each in virtual_hosts)
        return _Defaults(
            hosts=tuple(
                self._memo.intern(Generated(virtual_host.name, serialize(virtual_host), (by_name[virtual_host.name].source,)))
                for virtual_host in virtual_hosts
            ),
            heads=tuple(self._memo.intern(head) for head in heads),
            place={by_name[virtual_host.name].hostname: index for index, virtual_host in enumerate(virtual_hosts)},
            catches_all=_catches_all(virtual_hosts),
        )

    def _virtual_hosts(self, services: list[Service], assignment: _Assignment) -> list[VirtualHost]:
        """By name. In a conflict the oldest service keeps a domain; hosts that nobody registered come last."""
        ages = {service.hostname: rank for rank, service in enumerate(self._scope.services)}
        by_age = []
        for service in sorted(services, key=lambda service: ages[service.hostname]):
            host, port = service.hostname, service.port(self._place.port)
            if host in assignment.ruled:
                domains = service_domains(service, self._place.port, self._scope.namespace)
                by_age.append(self._virtual_host(host, domains, self._routes(assignment.ruled[host])))
            elif port is not None:
                rule = self._scope.destination_rule(service)
                ruled_by = rule.digest if rule is not None else b""
                key = ("default virtual host", self._scope.namespace, service.digest, port.number, self._prefix, ruled_by)
                by_age.append(VirtualHost.FromString(self._memo.get(key, partial(self._default_host, service, port))))
        for host, routing in assignment.extra.items():
            domains = iter([host] if host == "*" else [host, f"{host}:{self._place.port}"])
            by_age.append(self._virtual_host(host, domains, self._routes(routing)))
        return sorted(unique_domains(by_age), key=lambda virtual_host: virtual_host.name)

    def _default_host(self, service: Service, port: Port) -> bytes:
        """Serialized, because twenty thousand messages are 150 MB and their bytes 15."""
        domains = service_domains(service, port.number, self._scope.namespace)
        virtual_host = self._virtual_host(service.hostname, domains, [default_route(self._scope, service, port)])
        return self._memo.intern(serialize(virtual_host))  # other namespaces mostly have the same

    def _ruled_host(self, name: str, head: bytes, rule: RoutingRule) -> Generated:
        """Fields are serialized in the order of their numbers, and routes come after name and domains: so this is a join."""
        routes = self._serialized_routes(rule)
        return self._memo.get(("ruled virtual host", head, routes, rule.key), lambda: Generated(name, head + routes, (rule.key,)))

    def _virtual_host(self, host: str, domains: Iterator[str], routes: list[Route]) -> VirtualHost:
        virtual_host = VirtualHost(name=self._name(host))
        virtual_host.domains.extend(domains)
        virtual_host.routes.extend(routes)
        return virtual_host

    def _routes(self, rule: RoutingRule) -> list[Route]:
        """Those of one rule are the same in all namespaces that see the same services and destination rules."""
        return self._memo.get(("rule's routes", rule.digest, self._port), lambda: rule_routes(self._scope, rule, self._place))

    def _serialized_routes(self, rule: RoutingRule) -> bytes:
        return self._memo.get(
            ("rule's serialized routes", rule.digest, self._port),
            lambda: b"".join([embedded(_ROUTES, serialize(route)) for route in self._routes(rule)]),
        )

    def _is_extra(self, host: str, services: list[Service]) -> bool:
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


def _catches_all(virtual_hosts: Iterable[VirtualHost]) -> bool:
    return any("*" in virtual_host.domains for virtual_host in virtual_hosts)


def service_domains(service: Service, port: int, namespace: str) -> Iterator[str]:
    """Every way in which a request may name the service: full and short names and virtual addresses, each with and without the port."""
    names = [service.hostname, *hosts.short_variants(service.hostname, namespace)]
    if service.headless:
        names += [f"*.{name}" for name in names]
    names += [address for address in service.addresses if "/" not in address]
    for name in names:
        yield name
        yield f"{name}:{port}"


def unique_domains(virtual_hosts: Sequence[VirtualHost]) -> Iterator[VirtualHost]:
    """Envoy refuses a whole configuration for one repeated domain: the first virtual host that has it keeps it, one left with none goes.

    A host's full name (its first two domains, without and with port) is never lost to what is only a short name or an address of another.
    """
    owners: dict[str, int] = {}
    for full in (True, False):
        for number, virtual_host in enumerate(virtual_hosts):
            for domain in virtual_host.domains[:2] if full else virtual_host.domains[2:]:
                if is_value(domain):
                    owners.setdefault(domain.lower(), number)
    for number, virtual_host in enumerate(virtual_hosts):
        kept = [domain for domain in dict.fromkeys(map(str.lower, virtual_host.domains)) if owners.get(domain) == number]
        if len(kept) == len(virtual_host.domains):
            yield virtual_host
        elif kept:
            repaired = VirtualHost()
            repaired.CopyFrom(virtual_host)
            del repaired.domains[:]
            repaired.domains.extend(kept)
            yield repaired


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
