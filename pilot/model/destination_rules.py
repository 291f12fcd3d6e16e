# SPDX-License-Identifier: Apache-2.0
"""Which DestinationRule governs a service for clients of a namespace, and what its layers come to for one port.

Rules for one host are merged into a value of their own. Istio 1.4 merged into the stored object, so subsets of a deleted rule lived on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from common.config.kinds.networking import (
    ConnectionPoolSettings,
    DestinationRule,
    LoadBalancerSettings,
    OutlierDetection,
    Subset,
    TLSSettings,
    TrafficPolicy,
)
from common.config.resource import Resource, ResourceKey
from pilot.model import hosts
from pilot.model.digest import combine
from pilot.model.order import is_private, oldest_first
from pilot.model.service import Service


@dataclass(frozen=True, slots=True, eq=False)
class HostRule:
    """All rules of one visibility for one host, as one: the oldest gives the traffic policy, subsets are collected by name."""

    host: str
    policy: TrafficPolicy | None
    subsets: Mapping[str, Subset]
    sources: tuple[ResourceKey, ...]
    digest: bytes


@dataclass(frozen=True, slots=True)
class PortPolicy:
    """What is in force for one port of a service (or of one of its subsets)."""

    load_balancer: LoadBalancerSettings | None = None
    connection_pool: ConnectionPoolSettings | None = None
    outlier_detection: OutlierDetection | None = None
    tls: TLSSettings | None = None


NO_POLICY = PortPolicy()


def port_policy(policy: TrafficPolicy | None, port: int | None) -> PortPolicy:
    """One layer. Port-level settings replace all four parts of it, absent ones included."""
    if policy is None:
        return NO_POLICY
    for level in policy.portLevelSettings:
        if port is not None and level.port.number == port:
            return PortPolicy(level.loadBalancer, level.connectionPool, level.outlierDetection, level.tls)
    return PortPolicy(policy.loadBalancer, policy.connectionPool, policy.outlierDetection, policy.tls)


def effective_policy(rule: HostRule | None, subset: str, port: int | None) -> PortPolicy:
    """The rule's own layer with the subset's laid over it, part by part. `port` None means: port-level settings do not apply."""
    if rule is None:
        return NO_POLICY
    base = port_policy(rule.policy, port)
    if subset not in rule.subsets:
        return base
    over = port_policy(rule.subsets[subset].trafficPolicy, port)
    return PortPolicy(
        over.load_balancer or base.load_balancer,
        over.connection_pool or base.connection_pool,
        over.outlier_detection or base.outlier_detection,
        over.tls or base.tls,
    )


@dataclass(slots=True)
class _HostTable:
    """Merged rules by host, with the most specific match."""

    exact: dict[str, HostRule] = field(default_factory=dict)
    wildcards: list[HostRule] = field(default_factory=list)

    @classmethod
    def of(cls, rules: Iterable[tuple[Resource[DestinationRule], bytes]]) -> _HostTable:
        by_host: dict[str, list[tuple[Resource[DestinationRule], bytes]]] = {}
        for resource, digest in rules:
            by_host.setdefault(hosts.qualify(resource.spec.host, resource.namespace), []).append((resource, digest))
        table = cls()
        for host in sorted(by_host, key=hosts.specificity):
            merged = _merge(host, by_host[host])
            if hosts.is_wildcard(host):
                table.wildcards.append(merged)
            else:
                table.exact[host] = merged
        return table

    def find(self, host: str) -> HostRule | None:
        if (exact := self.exact.get(host)) is not None:
            return exact
        return next((rule for rule in self.wildcards if hosts.overlaps(rule.host, host)), None)


def _merge(host: str, rules: list[tuple[Resource[DestinationRule], bytes]]) -> HostRule:
    subsets: dict[str, Subset] = {}
    policy: TrafficPolicy | None = None
    for resource, _ in rules:
        policy = policy or resource.spec.trafficPolicy
        for subset in resource.spec.subsets:
            subsets.setdefault(subset.name, subset)
    return HostRule(host, policy, subsets, tuple(resource.key for resource, _ in rules), combine(digest for _, digest in rules))


class DestinationRules:
    """All rules, by the two ways in which they are looked up: within a namespace, and exported from one."""

    def __init__(self, rules: Mapping[ResourceKey, tuple[Resource[DestinationRule], bytes]], *, root: str, default_export: tuple[str, ...]):
        self._root = root
        local: dict[str, list[tuple[Resource[DestinationRule], bytes]]] = {}
        exported: dict[str, list[tuple[Resource[DestinationRule], bytes]]] = {}
        for resource in oldest_first(resource for resource, _ in rules.values()):
            entry = rules[resource.key]
            local.setdefault(resource.namespace, []).append(entry)
            if not is_private(resource.spec.exportTo, default_export):
                exported.setdefault(resource.namespace, []).append(entry)
        self._local = {namespace: _HostTable.of(entries) for namespace, entries in local.items()}
        self._exported = {namespace: _HostTable.of(entries) for namespace, entries in exported.items()}

    def find(self, client_namespace: str, service: Service) -> HostRule | None:
        """The rule for a client: its own namespace's first, then what the service's namespace exports, then what the root exports.

        The first level with a match decides alone; levels are never mixed.
        """
        levels = [self._exported.get(service.namespace), self._exported.get(self._root)]
        if client_namespace != self._root:
            levels.insert(0, self._local.get(client_namespace))
        for table in levels:
            if table is not None and (rule := table.find(service.hostname)) is not None:
                return rule
        return None
