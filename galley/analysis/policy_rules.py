# SPDX-License-Identifier: Apache-2.0
"""Mixer's rules, quota bindings and authentication policies against what they name."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from common.config.kinds.authentication import Policy
from common.config.kinds.core import Service
from common.config.kinds.mixer import QuotaSpec, QuotaSpecBinding, Rule
from common.config.resource import Resource
from galley.analysis.finding import JWT_ON_UNNAMED_PORT, REFERENCED_RESOURCE_NOT_FOUND, Finding, finding
from galley.analysis.view import View
from galley.validation.primitives import each

_HTTP_PREFIXES: Final = ("http", "http2", "https")


def mixer_references(view: View) -> Iterator[Finding]:
    """A rule's handler and instances must exist, or its action is dropped."""
    for rule in view.of(Rule):
        for action, at in each(rule.spec.actions, ("spec", "actions")):
            if action.handler and not view.has_mixer("handler", action.handler, rule.namespace):
                text = f"Referenced handler not found: {action.handler!r}; the action is dropped"
                yield finding(REFERENCED_RESOURCE_NOT_FOUND, rule, (*at, "handler"), text)
            for name, place in each(action.instances, (*at, "instances")):
                if not view.has_mixer("instance", name, rule.namespace):
                    yield finding(REFERENCED_RESOURCE_NOT_FOUND, rule, place, f"Referenced instance not found: {name!r}")


def quota_references(view: View) -> Iterator[Finding]:
    """A binding's QuotaSpecs must exist, or nothing is charged."""
    known = {(spec.namespace, spec.name) for spec in view.of(QuotaSpec)}
    for binding in view.of(QuotaSpecBinding):
        for reference, at in each(binding.spec.quotaSpecs, ("spec", "quotaSpecs")):
            namespace = reference.namespace or binding.namespace
            if (namespace, reference.name) not in known:
                text = f"Referenced QuotaSpec not found: '{namespace}/{reference.name}'; nothing is charged"
                yield finding(REFERENCED_RESOURCE_NOT_FOUND, binding, at, text)


def policy_targets(view: View) -> Iterator[Finding]:
    """A policy's services must exist; a token can only be read where the port says that it speaks HTTP."""
    for policy in view.of(Policy):
        for target, at in each(policy.spec.targets, ("spec", "targets")):
            known = view.host(target.name, policy.namespace)
            if known is None:
                text = f"Referenced service not found: '{policy.namespace}/{target.name}'"
                yield finding(REFERENCED_RESOURCE_NOT_FOUND, policy, (*at, "name"), text)
            elif any(origin.jwt is not None for origin in policy.spec.origins) and isinstance(known.resource.spec, Service):
                numbers = {port.number for port in target.ports} | {port.name for port in target.ports}
                yield from _jwt_ports(policy, known.resource, numbers - {None})


def _jwt_ports(policy: Resource[Policy], service: Resource[Service], wanted: set[int | str | None]) -> Iterator[Finding]:
    for port in service.spec.ports:
        if wanted and port.port not in wanted and port.name not in wanted:
            continue
        prefix = port.name.partition("-")[0]
        if port.protocol != "TCP" or prefix not in _HTTP_PREFIXES:
            text = (
                f"The JWT of this policy cannot be checked on port {port.port} (name {port.name!r}, {port.protocol}) of Service "
                f"{service.namespace}/{service.name}: name it http, http2 or https, or with one of these and '-' in front"
            )
            yield finding(JWT_ON_UNNAMED_PORT, policy, ("spec", "targets"), text)
