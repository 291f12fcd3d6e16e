# SPDX-License-Identifier: Apache-2.0
"""The route configuration of an outbound port: a virtual host for each visible service, and one for everything else."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Final, NamedTuple

from envoy.config.route.v3 import route_components_pb2, route_pb2

from common.config.resource import ResourceKey
from pilot.model import hosts
from pilot.model.memo import Memo
from pilot.model.scope import Scope
from pilot.model.service import Port, Protocol, Service
from pilot.model.virtual_services import RoutingRule
from pilot.networking.mixerclient import INTERNAL_HEADERS
from pilot.networking.names import PASSTHROUGH
from pilot.networking.route import Route, VirtualHost, default_route, rule_routes
from pilot.networking.route_match import Place
from pilot.networking.wire import embedded, is_value, serialize

_VIRTUAL_HOSTS: Final = route_pb2.RouteConfiguration.VIRTUAL_HOSTS_FIELD_NUMBER
_EXTRA_HOST_PORT: Final = 80
"""Istio's rule: a host that is no registered service is routed on this port only."""


def outbound_routes(scope: Scope, name: str, place: Place, *, allow_any: bool, memo: Memo) -> tuple[bytes, tuple[ResourceKey, ...]]:
    """The serialized configuration. `name` is the port, or `host:port` for the listener of one sniffed service, which has no catch-all.

    Virtual hosts are kept as bytes from push to push: a rule costs those that it names, and the other thousand are joined.
    """
    only = name.rpartition(":")[0]
    services = [service for service in scope.on_port(place.port) if _is_routed(service.port(place.port))]
    if only:
        services = [service for service in services if service.hostname == only]
    builder = _Builder(scope, place, services, memo)
    for rule in scope.mesh_rules:
        builder.add_rule(rule, extra_hosts=not only)
    virtual_hosts, catches_all = builder.framed(only)
    if not only and not catches_all:
        virtual_hosts.append(_framed(_catch_all(allow_any)))
    settings = route_pb2.RouteConfiguration()
    settings.validate_clusters.value = False
    body = b"".join((serialize(route_pb2.RouteConfiguration(name=name)), *virtual_hosts, serialize(settings)))  # in the order of fields
    return body, tuple(dict.fromkeys(builder.sources))


def _is_routed(port: Port | None) -> bool:
    return port is not None and (port.protocol.is_http or port.protocol is Protocol.UNSUPPORTED)


class _Defaults(NamedTuple):
    """The virtual hosts of a port's services as they are without any rule, in the order in which they are written."""

    services: tuple[Service, ...]
    framed: tuple[bytes, ...]
    domains: tuple[tuple[str, ...], ...]
    """What each keeps of its domains: in a conflict the oldest has it."""
    catches_all: bool


class _Builder:
    """Collects virtual hosts; the first rule that names a host has it."""

    def __init__(self, scope: Scope, place: Place, services: list[Service], memo: Memo):
        self._scope, self._place, self._services, self._memo = scope, place, services, memo
        self._ruled: dict[str, RoutingRule] = {}
        self._extra: dict[str, RoutingRule] = {}
        self.sources: list[ResourceKey] = []

    def add_rule(self, rule: RoutingRule, *, extra_hosts: bool) -> None:
        if not rule.spec.http:
            return
        matched: list[str] = []
        unknown: list[str] = []
        for host in rule.hosts:
            matched += [service.hostname for service in self._services_of(host, self._services) if service.hostname not in self._ruled]
            if extra_hosts and host not in self._extra and self._is_extra(host, self._services):
                unknown.append(host)
        if not (matched or unknown) or not self._routes(rule):
            return
        self.sources.append(rule.key)
        self._ruled.update(dict.fromkeys(matched, rule))
        self._extra.update(dict.fromkeys(unknown, rule))

    def framed(self, only: str) -> tuple[list[bytes], bool]:
        """All virtual hosts as fields of the configuration, and whether one of them takes every request. `only` is part of the place."""
        if self._extra:  # their domains compete with those of the services
            virtual_hosts = self._virtual_hosts(self._ruled, self._extra)
            self.sources.extend(service.source for service in self._services if service.hostname not in self._ruled)
            return [_framed(virtual_host) for virtual_host in virtual_hosts], _catches_all(virtual_hosts)
        place = ("default virtual hosts", self._scope.namespace, only, self._place.port)
        defaults = self._memo.keep(place, self._scope.targets_digest, self._defaults)
        framed = list(defaults.framed)
        for index, service in enumerate(defaults.services):
            rule = self._ruled.get(service.hostname) if self._ruled else None
            if rule is None:
                self.sources.append(service.source)
            else:
                make = partial(self._ruled_host, service.hostname, rule, defaults.domains[index])
                framed[index] = self._memo.get(("ruled virtual host", service.hostname, only, self._rule_key(rule)), make)
        return framed, defaults.catches_all

    def _defaults(self) -> _Defaults:
        by_name = {f"{service.hostname}:{self._place.port}": service for service in self._services}
        virtual_hosts = self._virtual_hosts({}, {})
        return _Defaults(
            services=tuple(by_name[virtual_host.name] for virtual_host in virtual_hosts),
            framed=tuple(_framed(virtual_host) for virtual_host in virtual_hosts),
            domains=tuple(tuple(virtual_host.domains) for virtual_host in virtual_hosts),
            catches_all=_catches_all(virtual_hosts),
        )

    def _virtual_hosts(self, ruled: Mapping[str, RoutingRule], extra: Mapping[str, RoutingRule]) -> list[VirtualHost]:
        """By name. In a conflict the oldest service keeps a domain; hosts that nobody registered come last."""
        ages = {service.hostname: rank for rank, service in enumerate(self._scope.services)}
        by_age = []
        for service in sorted(self._services, key=lambda service: ages[service.hostname]):
            host, port = service.hostname, service.port(self._place.port)
            if host in ruled:
                domains = service_domains(service, self._place.port, self._scope.namespace)
                by_age.append(self._virtual_host(host, domains, self._routes(ruled[host])))
            elif port is not None:
                rule = self._scope.destination_rule(service)
                key = ("default virtual host", self._scope.namespace, service.digest, port.number, rule.digest if rule is not None else b"")
                by_age.append(VirtualHost.FromString(self._memo.get(key, partial(self._default_host, service, port))))
        for host, routing in extra.items():
            by_age.append(self._virtual_host(host, [host] if host == "*" else [host, f"{host}:{self._place.port}"], self._routes(routing)))
        return sorted(unique_domains(by_age), key=lambda virtual_host: virtual_host.name)

    def _default_host(self, service: Service, port: Port) -> bytes:
        """Serialized, because twenty thousand messages are 150 MB and their bytes 15."""
        virtual_host = VirtualHost(name=f"{service.hostname}:{port.number}")
        virtual_host.domains.extend(service_domains(service, port.number, self._scope.namespace))
        virtual_host.routes.append(default_route(self._scope, service, port))
        return serialize(virtual_host)

    def _ruled_host(self, host: str, rule: RoutingRule, domains: tuple[str, ...]) -> bytes:
        return _framed(self._virtual_host(host, domains, self._routes(rule)))

    def _virtual_host(self, host: str, domains: Iterable[str], routes: list[Route]) -> VirtualHost:
        virtual_host = VirtualHost(name=f"{host}:{self._place.port}")
        virtual_host.domains.extend(domains)
        virtual_host.routes.extend(routes)
        return virtual_host

    def _rule_key(self, rule: RoutingRule) -> Hashable:
        """Everything that a rule's routes depend on."""
        place = self._place
        return (rule.digest, self._scope.namespace, place.port, place.gateways, tuple(place.met), self._scope.targets_digest)

    def _routes(self, rule: RoutingRule) -> list[Route]:
        return self._memo.get(("rule's routes", self._rule_key(rule)), lambda: rule_routes(self._scope, rule, self._place))

    def _services_of(self, host: str, services: list[Service]) -> list[Service]:
        """Services on this port that the host means."""
        exact = self._scope.by_host.get(host)
        if exact is not None:
            return [exact] if _is_routed(exact.port(self._place.port)) else []
        return [service for service in services if hosts.covers(host, service.hostname)] if hosts.is_wildcard(host) else []

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


def _framed(virtual_host: VirtualHost) -> bytes:
    return embedded(_VIRTUAL_HOSTS, serialize(virtual_host))


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


def _catch_all(allow_any: bool) -> VirtualHost:
    """Requests for hosts that nobody registered: to where they were going anyway, or 502."""
    virtual_host = VirtualHost(name="allow_any" if allow_any else "block_all", domains=["*"])
    route = virtual_host.routes.add(name=virtual_host.name, match=route_components_pb2.RouteMatch(prefix="/"))
    if allow_any:
        route.route.cluster = PASSTHROUGH
        route.request_headers_to_remove.extend(INTERNAL_HEADERS)
    else:
        route.direct_response.status = 502
    return virtual_host
