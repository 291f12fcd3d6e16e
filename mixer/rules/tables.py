# SPDX-License-Identifier: Apache-2.0
"""Which rules apply to whom, compiled: one table for each variety and namespace.

Rules of the configuration namespace stand first in every table; other namespaces add their own. Header operations of the configuration
namespace are not inherited by a namespace that has policy of its own (Istio 1.4's rule).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from common.config.resource import ResourceKey
from common.expression import Checked
from mixer.compiler.program import Build, Group, compile_groups
from mixer.rules.snapshot import BuiltHandler, Directives, DirectiveSlot, NamespaceRules, Slot, Table
from mixer.templates.shape import InstanceShape


@dataclass(frozen=True, slots=True)
class ResolvedRule:
    """A rule with live handlers."""

    key: ResourceKey
    condition: Checked | None
    calls: tuple[tuple[BuiltHandler, InstanceShape], ...]
    directives: tuple[tuple[DirectiveSlot, Checked], ...]

    def calls_of(self, variety: str) -> list[tuple[BuiltHandler, InstanceShape]]:
        return [(handler, shape) for handler, shape in self.calls if shape.variety == variety]


def namespace_rules(rules: Sequence[ResolvedRule], config_namespace: str) -> tuple[NamespaceRules, dict[str, NamespaceRules]]:
    """The rules for namespaces without their own, and those of each namespace that has some."""
    by_namespace: dict[str, list[ResolvedRule]] = {}
    for rule in rules:
        by_namespace.setdefault(rule.key.namespace, []).append(rule)
    mesh_wide = by_namespace.pop(config_namespace, [])
    default = NamespaceRules(
        check=_table(mesh_wide, "CHECK", "mesh"),
        report=_table(mesh_wide, "REPORT", "mesh"),
        directives=_directives(mesh_wide, "mesh"),
        quotas=_quotas(mesh_wide, "mesh"),
    )
    return default, {namespace: _own(namespace, mesh_wide, own, default) for namespace, own in by_namespace.items()}


def _own(namespace: str, mesh_wide: Sequence[ResolvedRule], own: Sequence[ResolvedRule], default: NamespaceRules) -> NamespaceRules:
    both = [*mesh_wide, *own]
    has_policy = any(rule.calls_of("CHECK") or rule.directives for rule in own)
    has_reports = any(rule.calls_of("REPORT") for rule in own)
    has_quotas = any(rule.calls_of("QUOTA") for rule in own)
    return NamespaceRules(
        check=_table(both, "CHECK", namespace) if has_policy else default.check,
        report=_table(both, "REPORT", namespace) if has_reports else default.report,
        directives=_directives(own, namespace) if has_policy else default.directives,
        quotas=_quotas(both, namespace) if has_quotas else default.quotas,
    )


def _table(rules: Iterable[ResolvedRule], variety: str, label: str, quota: str | None = None) -> Table | None:
    slots: dict[tuple[str, str], int] = {}
    found: list[Slot] = []
    groups: list[Group] = []
    for rule in rules:
        builds: list[Build] = []
        for handler, shape in rule.calls_of(variety):
            if quota is not None and shape.short_name.lower() != quota:
                continue
            key = (handler.name, shape.name)
            if key not in slots:
                slots[key] = len(found)
                found.append(Slot(handler, shape))
            builds.append(Build(slots[key], shape.row, shape.name))
        if builds:
            groups.append(Group(rule.condition, tuple(builds), str(rule.key)))
    if not groups:
        return None
    name = f"{variety.lower()} rules of {label}{f', quota {quota}' if quota else ''}"
    return Table(compile_groups(groups, slots=len(found), name=name), tuple(found))


def _quotas(rules: Sequence[ResolvedRule], label: str) -> Mapping[str, Table]:
    names = sorted({shape.short_name.lower() for rule in rules for _, shape in rule.calls_of("QUOTA")})
    tables = {name: _table(rules, "QUOTA", label, name) for name in names}
    return {name: table for name, table in tables.items() if table is not None}


def _directives(rules: Iterable[ResolvedRule], label: str) -> Directives | None:
    slots: list[DirectiveSlot] = []
    groups: list[Group] = []
    for rule in rules:
        builds: list[Build] = []
        for slot, value in rule.directives:
            builds.append(Build(len(slots), (value,), f"{rule.key} header {slot.name}"))
            slots.append(slot)
        if builds:
            groups.append(Group(rule.condition, tuple(builds), str(rule.key)))
    if not groups:
        return None
    return Directives(compile_groups(groups, slots=len(slots), name=f"header operations of {label}"), tuple(slots))
