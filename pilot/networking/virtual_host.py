# SPDX-License-Identifier: Apache-2.0
"""The route configuration of an outbound port: a virtual host for each visible service, and one for everything else."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

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
from pilot.networking.wire import is_value

_EXTRA_HOST_PORT = 80
"""Istio's rule: a host that is no registered service is routed on this port only."""


def outbound_routes(
    scope: Scope, name: str, place: Place, *, allow_any: bool, memo: Memo
) -> tuple[route_pb2.RouteConfiguration, tuple[ResourceKey, ...]]:
    """`name` is the port, or `host:port` for the listener of one sniffed service, which has no catch-all."""
    only = name.rpartition(":")[0]
    services = [service for service in scope.on_port(place.port) if _is_routed(service.port(place.port))]
    if only:
        services = [service for service in services if service.hostname == only]
    builder = _Builder(scope, place, memo)
    for rule in scope.mesh_rules:
        builder.add_rule(rule, services, extra_hosts=not only)
    for service in services:
        builder.add_default(service)
    configuration = route_pb2.RouteConfiguration(name=name)
    configuration.validate_clusters.value = False
    by_age = [virtual_host for _, virtual_host in sorted(builder.virtual_hosts, key=lambda ranked: ranked[0])]
    configuration.virtual_hosts.extend(sorted(unique_domains(by_age), key=lambda virtual_host: virtual_host.name))
    if not only and not any("*" in virtual_host.domains for virtual_host in configuration.virtual_hosts):
        configuration.virtual_hosts.append(_catch_all(allow_any))
    return configuration, tuple(dict.fromkeys(builder.sources))


def _is_routed(port: Port | None) -> bool:
    return port is not None and (port.protocol.is_http or port.protocol is Protocol.UNSUPPORTED)


class _Builder:
    """Collects virtual hosts; the first rule that names a host has it."""

    def __init__(self, scope: Scope, place: Place, memo: Memo):
        self._scope = scope
        self._place = place
        self._memo = memo
        self._claimed: set[str] = set()
        self._ranks = {service.hostname: rank for rank, service in enumerate(scope.services)}
        self.virtual_hosts: list[tuple[int, VirtualHost]] = []
        """With the age of their services: in a conflict the oldest keeps a domain; hosts that nobody registered come last."""
        self.sources: list[ResourceKey] = []

    def add_rule(self, rule: RoutingRule, services: list[Service], *, extra_hosts: bool) -> None:
        if not rule.spec.http:
            return
        matched: list[Service] = []
        unknown: list[str] = []
        for host in rule.hosts:
            matched += [service for service in self._services_of(host, services) if service.hostname not in self._claimed]
            if extra_hosts and host not in self._claimed and self._is_extra(host, services):
                unknown.append(host)
        if not matched and not unknown:
            return
        routes = rule_routes(self._scope, rule, self._place)
        if not routes:
            return
        self.sources.append(rule.key)
        for service in matched:
            if service.hostname not in self._claimed:
                self._add(service.hostname, service_domains(service, self._place.port, self._scope.namespace), routes)
        for host in unknown:
            self._add(host, [host] if host == "*" else [host, f"{host}:{self._place.port}"], routes)

    def add_default(self, service: Service) -> None:
        port = service.port(self._place.port)
        if service.hostname in self._claimed or port is None:
            return
        self._claimed.add(service.hostname)
        self.sources.append(service.source)
        rule = self._scope.destination_rule(service)
        key = ("default virtual host", self._scope.namespace, service.digest, port.number, rule.digest if rule is not None else b"")
        self.virtual_hosts.append((self._ranks[service.hostname], self._memo.get(key, lambda: self._default_host(service, port))))

    def _default_host(self, service: Service, port: Port) -> VirtualHost:
        virtual_host = VirtualHost(name=f"{service.hostname}:{port.number}")
        virtual_host.domains.extend(service_domains(service, port.number, self._scope.namespace))
        virtual_host.routes.append(default_route(self._scope, service, port))
        return virtual_host

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

    def _add(self, host: str, domains: Iterable[str], routes: list[Route]) -> None:
        self._claimed.add(host)
        virtual_host = VirtualHost(name=f"{host}:{self._place.port}")
        virtual_host.domains.extend(domains)
        virtual_host.routes.extend(routes)
        self.virtual_hosts.append((self._ranks.get(host, len(self._ranks)), virtual_host))


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
