# SPDX-License-Identifier: Apache-2.0
"""VirtualServices with their names resolved once: hosts to full names, gateways to `namespace/name`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from common.config.kinds.networking import VirtualService
from common.config.resource import Resource, ResourceKey
from pilot.model import hosts
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

    def visible_from(self, namespace: str) -> tuple[RoutingRule, ...]:
        """A namespace's own private rules first, so that they beat older public ones, then the public rules of all."""
        own = [rule for rule in self.all if rule.private and rule.namespace == namespace]
        return (*own, *(rule for rule in self.all if not rule.private))
