# SPDX-License-Identifier: Apache-2.0
"""VirtualServices with their names resolved once: hosts to full names, gateways to `namespace/name`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from common.config.kinds.networking import VirtualService
from common.config.resource import Resource, ResourceKey
from pilot.model import hosts
from pilot.model.labels import LabelSet, label_set
from pilot.model.order import is_private, oldest_first

MESH = "mesh"
"""The reserved gateway that means all sidecars."""


def resolve_gateway(name: str, namespace: str) -> str:
    """`namespace/name` of a gateway reference. A dotted name is the old form `name.namespace.svc...`."""
    if name == MESH:
        return MESH
    if name.startswith("./"):
        return f"{namespace}/{name[2:]}"
    if "/" in name:
        return name
    if "." in name:
        short, space, *_ = name.split(".")
        return f"{space}/{short}"
    return f"{namespace}/{name}"


@dataclass(frozen=True, slots=True, eq=False)
class RoutingRule:
    """A VirtualService ready to be applied."""

    resource: Resource[VirtualService]
    hosts: tuple[str, ...]
    gateways: frozenset[str]
    private: bool
    digest: bytes

    @property
    def spec(self) -> VirtualService:
        return self.resource.spec

    @property
    def namespace(self) -> str:
        return self.resource.namespace

    @property
    def key(self) -> ResourceKey:
        return self.resource.key

    def destination_host(self, host: str) -> str:
        """Full name of a destination that the rule mentions."""
        return hosts.qualify(host, self.namespace)

    @property
    def source_labels(self) -> set[LabelSet]:
        """Every `sourceLabels` condition that it makes."""
        conditions = (
            *(match.sourceLabels for route in self.spec.http for match in route.match),
            *(match.sourceLabels for tls in self.spec.tls for match in tls.match),
            *(match.sourceLabels for tcp in self.spec.tcp for match in tcp.match),
        )
        return {label_set(labels) for labels in conditions if labels}

    def applies_to_gateways(self, names: Iterable[str]) -> frozenset[str]:
        """References in a match, resolved."""
        return frozenset(resolve_gateway(name, self.namespace) for name in names)


class RoutingRules:
    """All VirtualServices, oldest first."""

    def __init__(self, rules: Mapping[ResourceKey, tuple[Resource[VirtualService], bytes]], *, default_export: tuple[str, ...]):
        self.all = tuple(
            RoutingRule(
                resource=resource,
                hosts=tuple(hosts.qualify(host, resource.namespace) for host in resource.spec.hosts),
                gateways=frozenset(resolve_gateway(name, resource.namespace) for name in resource.spec.gateways) or frozenset({MESH}),
                private=is_private(resource.spec.exportTo, default_export),
                digest=rules[resource.key][1],
            )
            for resource in oldest_first(resource for resource, _ in rules.values())
        )

    @cached_property
    def has_source_labels(self) -> bool:
        """Whether any rule asks for the labels of the client: only then do proxies of one namespace get different routes."""
        return any(rule.source_labels for rule in self.all)

    def visible_from(self, namespace: str) -> tuple[RoutingRule, ...]:
        """A namespace's own private rules first, so that they beat older public ones, then the public rules of all."""
        own = [rule for rule in self.all if rule.private and rule.namespace == namespace]
        return (*own, *(rule for rule in self.all if not rule.private))
