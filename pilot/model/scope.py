# SPDX-License-Identifier: Apache-2.0
"""What the proxies of one namespace may see: services, routing rules and destination rules.

Every proxy of a namespace shares its scope, and groups of generated resources are keyed by it.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property

from pilot.model import hosts
from pilot.model.destination_rules import DestinationRules, HostRule
from pilot.model.digest import combine
from pilot.model.labels import LabelSet
from pilot.model.service import Service
from pilot.model.sidecars import Imports
from pilot.model.virtual_services import MESH, RoutingRule, RoutingRules


class Seen:
    """Services visible from one namespace, with their destination rules. Kept from push to push while neither changes.

    `imports` is what a Sidecar lets its proxies see; None for all that is exported.
    """

    def __init__(self, namespace: str, services: Iterable[Service], destinations: DestinationRules, imports: Imports | None = None):
        self.namespace, self.imports = namespace, imports
        self._destinations = destinations
        self._found: dict[Service, HostRule | None] = {}
        self._routed: dict[int, tuple[Service, ...]] = {}
        chosen: dict[str, Service] = {}
        for service in services:
            if service.private and service.namespace != namespace:
                continue
            if imports is not None and not imports.admits(service.namespace, service.hostname):
                continue
            known = chosen.get(service.hostname)
            if known is None or (service.namespace == namespace != known.namespace):
                chosen[service.hostname] = service
        self.by_host = chosen
        self.services = tuple(sorted(chosen.values(), key=lambda service: (service.created, service.key)))

    @cached_property
    def by_port(self) -> dict[int, tuple[Service, ...]]:
        found: dict[int, list[Service]] = {}
        for service in self.services:
            for number in dict.fromkeys(port.number for port in service.ports):
                found.setdefault(number, []).append(service)
        return {number: tuple(services) for number, services in found.items()}

    def routed_on_port(self, number: int) -> tuple[Service, ...]:
        known = self._routed.get(number)
        if known is None:
            ports = ((service, service.port(number)) for service in self.by_port.get(number, ()))
            known = self._routed[number] = tuple(service for service, port in ports if port is not None and port.is_routed)
        return known

    @cached_property
    def wildcard_services(self) -> tuple[Service, ...]:
        return tuple(service for service in self.services if hosts.is_wildcard(service.hostname))

    def destination_rule(self, service: Service) -> HostRule | None:
        if service not in self._found:
            self._found[service] = self._destinations.find(self.namespace, service)
        return self._found[service]

    @cached_property
    def services_digest(self) -> bytes:
        return combine(service.digest for service in self.services)

    @cached_property
    def destinations_digest(self) -> bytes:
        found = (self.destination_rule(service) for service in self.services)
        return combine(rule.digest if rule is not None else b"" for rule in found)

    @cached_property
    def targets_digest(self) -> bytes:
        return combine((self.services_digest, self.destinations_digest))


class Scope:
    """The view from one namespace. Immutable; what is derived from it is computed when first asked for."""

    def __init__(self, seen: Seen, routing: RoutingRules):
        self._seen = seen
        self.namespace, self.by_host, self.services = seen.namespace, seen.by_host, seen.services
        self.rules = routing.visible_from(seen.namespace)
        if (imports := seen.imports) is not None:
            self.rules = tuple(rule for rule in self.rules if any(imports.admits(rule.namespace, host) for host in rule.hosts))

    @cached_property
    def mesh_rules(self) -> tuple[RoutingRule, ...]:
        """Routing rules for sidecars."""
        return tuple(rule for rule in self.rules if MESH in rule.gateways)

    def on_port(self, number: int) -> tuple[Service, ...]:
        """Services that have this port."""
        return self._seen.by_port.get(number, ())

    def routed_on_port(self, number: int) -> tuple[Service, ...]:
        """Services whose requests on this port may be routed one by one."""
        return self._seen.routed_on_port(number)

    @property
    def ports(self) -> tuple[int, ...]:
        return tuple(sorted(self._seen.by_port))

    @property
    def wildcard_services(self) -> tuple[Service, ...]:
        return self._seen.wildcard_services

    @cached_property
    def source_label_sets(self) -> tuple[LabelSet, ...]:
        """Every `sourceLabels` condition that some visible rule makes: which of them a proxy meets is all that routes know of its labels."""
        found = {condition for rule in self.mesh_rules for condition in rule.source_labels}
        return tuple(sorted(found))

    def destination_rule(self, service: Service) -> HostRule | None:
        """The rule that governs a service for clients here."""
        return self._seen.destination_rule(service)

    @property
    def services_digest(self) -> bytes:
        return self._seen.services_digest

    @cached_property
    def rules_digest(self) -> bytes:
        return combine(rule.digest for rule in self.rules)

    @cached_property
    def connection_rules_digest(self) -> bytes:
        """Hash of the rules that decide about whole connections (`tcp`, `tls`): of all rules, sidecars' listeners depend on these only."""
        return combine(rule.digest for rule in self.mesh_rules if rule.spec.tcp or rule.spec.tls)

    @property
    def destinations_digest(self) -> bytes:
        """Hash of the destination rules in force, service by service."""
        return self._seen.destinations_digest

    @property
    def targets_digest(self) -> bytes:
        """Hash of the services and of the destination rules in force: what the names of endpoints mean here."""
        return self._seen.targets_digest
