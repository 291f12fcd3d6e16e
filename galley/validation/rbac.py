# SPDX-License-Identifier: Apache-2.0
"""What the older authorization kinds must keep to, over their schemas."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from common.config.kinds.rbac import AccessRule, RbacConfig, ServiceRole, ServiceRoleBinding, Subject
from common.config.problem import Path, Problem, problem
from galley.validation.primitives import each, port_number

_EITHER: Final = (("methods", "notMethods"), ("ports", "notPorts"))
_FIELDS_FOR: Final = {
    "source.principal": "names",
    "request.auth.claims[groups]": "groups",
    "source.namespace": "namespaces",
    "source.ip": "ips",
}
"""Properties that say again what a field says."""


def service_role(spec: ServiceRole, at: Path) -> Iterator[Problem]:
    if not spec.rules:
        yield problem((*at, "rules"), "at least one rule is needed")
    yield from _rules(spec.rules, (*at, "rules"))


def _rules(rules: Sequence[AccessRule], at: Path) -> Iterator[Problem]:
    for rule, place in each(rules, at):
        for one, other in _EITHER:
            if getattr(rule, one) and getattr(rule, other):
                yield problem((*place, other), f"{one} and {other} exclude one another; keep one", found=other)
        for field in ("ports", "notPorts"):
            for number, where in each(getattr(rule, field), (*place, field)):
                yield from port_number(number, where)
        for constraint, where in each(rule.constraints, (*place, "constraints")):
            if not constraint.key:
                yield problem(where, "a constraint needs a key")
            if not constraint.values:
                yield problem(where, "a constraint needs at least one value")
            if constraint.key == "destination.port" and (rule.ports or rule.notPorts):
                yield problem((*where, "key"), "destination.port says again what ports says; keep one", found=constraint.key)


def service_role_binding(spec: ServiceRoleBinding, at: Path) -> Iterator[Problem]:
    if not spec.subjects:
        yield problem((*at, "subjects"), "at least one subject is needed; user: '*' is everybody")
    for subject, place in each(spec.subjects, (*at, "subjects")):
        yield from _subject(subject, place)
    chosen = [field for field in ("roleRef", "role", "actions") if getattr(spec, field)]
    if len(chosen) != 1:
        found = " and ".join(chosen) or "none"
        yield problem(at, f"exactly one of roleRef, role and actions is needed; found {found}", found=found)
    if spec.roleRef is not None:
        if spec.roleRef.kind != "ServiceRole":
            yield problem(
                (*at, "roleRef"),
                f"roleRef.kind must be ServiceRole, not {spec.roleRef.kind!r}",
                expected="ServiceRole",
                found=spec.roleRef.kind,
            )
        if not spec.roleRef.name:
            yield problem((*at, "roleRef"), "roleRef needs the name of a ServiceRole")
    if spec.role == "/":
        yield problem((*at, "role"), "role must be a name, or '/name' for the root namespace", found=spec.role)
    yield from _rules(spec.actions, (*at, "actions"))


def _subject(subject: Subject, at: Path) -> Iterator[Problem]:
    if not any(getattr(subject, field) for field in subject.__struct_fields__):
        yield problem(at, "an empty subject is nobody; name a user, or write user: '*' for everybody")
    for field in ("names", "notNames"):
        for name, place in each(getattr(subject, field), (*at, field)):
            if "*" in name:
                yield problem(place, f"{field} holds whole names, without '*'; use user: '*' for everybody", found=name)
    for key in subject.properties:
        if key in _FIELDS_FOR and getattr(subject, _FIELDS_FOR[key]):
            yield problem((*at, "properties", key), f"{key} says again what {_FIELDS_FOR[key]} says; keep one", found=key)


def rbac_config(spec: RbacConfig, at: Path, *, name: str, kind: str) -> Iterator[Problem]:
    if name != "default":
        yield problem(("metadata", "name"), f"a {kind} must be named 'default', not {name!r}", expected="default", found=name)
    for mode, field in (("ON_WITH_INCLUSION", "inclusion"), ("ON_WITH_EXCLUSION", "exclusion")):
        if spec.mode == mode and getattr(spec, field) is None:
            yield problem(at, f"mode {mode} needs {field}: the services or namespaces", expected=field)
