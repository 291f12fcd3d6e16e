# SPDX-License-Identifier: Apache-2.0
"""Istio 1.4's roles against the bindings that name them and the services that they name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from common.config.kinds.rbac import ServiceRole, ServiceRoleBinding
from common.config.resource import Resource
from galley.analysis.codes import REFERENCED_RESOURCE_NOT_FOUND
from galley.analysis.finding import Finding, finding
from galley.analysis.view import View
from galley.validation.primitives import each


def role_references(view: View) -> Iterator[Finding]:
    """A binding to a role that does not exist gives nobody anything."""
    known = {(role.namespace, role.name) for role in view.of(ServiceRole)}
    for binding in view.of(ServiceRoleBinding):
        spec = binding.spec
        name, field = (spec.roleRef.name, "roleRef") if spec.roleRef is not None else (spec.role, "role")
        if name and (binding.namespace, name) not in known:
            text = REFERENCED_RESOURCE_NOT_FOUND.says("service role", name)
            yield finding(REFERENCED_RESOURCE_NOT_FOUND, binding, ("spec", field), text)


def role_services(view: View) -> Iterable[Finding]:
    """A role's services are full names of its own namespace; `*` may begin or end one."""
    return view.each(ServiceRole, _role_services)


def _role_services(view: View, role: Resource[ServiceRole]) -> Iterator[Finding]:
    own = [known.host for known in view.hosts if known.namespace == role.namespace]
    for rule, at in each(role.spec.rules, ("spec", "rules")):
        for service, place in each(rule.services, (*at, "services")):
            if service != "*" and not any(_names(service, host) for host in own):
                yield finding(REFERENCED_RESOURCE_NOT_FOUND, role, place, REFERENCED_RESOURCE_NOT_FOUND.says("service", service))


def _names(pattern: str, host: str) -> bool:
    if pattern.startswith("*"):
        return host.endswith(pattern[1:])
    if pattern.endswith("*"):
        return host.startswith(pattern[:-1])
    return host == pattern
