# SPDX-License-Identifier: Apache-2.0
"""Mixer's rules, quota bindings and authentication policies against what they name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from common.config.kinds.authentication import Policy
from common.config.kinds.core import Service
from common.config.kinds.mixer import QuotaSpec, QuotaSpecBinding, Rule
from common.config.resource import Resource
from galley.analysis.codes import JWT_ON_UNNAMED_PORT, POLICY_PORT_NAME, REFERENCED_RESOURCE_NOT_FOUND
from galley.analysis.finding import Finding, finding
from galley.analysis.view import View
from galley.validation.primitives import each

_HTTP_PREFIXES: Final = ("http", "http2", "https")


def mixer_references(view: View) -> Iterable[Finding]:
    """A rule's handler and instances must exist, or its action is dropped."""
    return view.each(Rule, _mixer_references)


def _mixer_references(view: View, rule: Resource[Rule]) -> Iterator[Finding]:
    for action, at in each(rule.spec.actions, ("spec", "actions")):
        if action.handler and not view.has_mixer("handler", action.handler, rule.namespace):
            text = f"{REFERENCED_RESOURCE_NOT_FOUND.says('handler', action.handler)}; the action is dropped"
            yield finding(REFERENCED_RESOURCE_NOT_FOUND, rule, (*at, "handler"), text)
        for name, place in each(action.instances, (*at, "instances")):
            if not view.has_mixer("instance", name, rule.namespace):
                yield finding(REFERENCED_RESOURCE_NOT_FOUND, rule, place, REFERENCED_RESOURCE_NOT_FOUND.says("instance", name))


def quota_references(view: View) -> Iterator[Finding]:
    """A binding's QuotaSpecs must exist, or nothing is charged."""
    known = {(spec.namespace, spec.name) for spec in view.of(QuotaSpec)}
    for binding in view.of(QuotaSpecBinding):
        for reference, at in each(binding.spec.quotaSpecs, ("spec", "quotaSpecs")):
            namespace = reference.namespace or binding.namespace
            if (namespace, reference.name) not in known:
                text = f"{REFERENCED_RESOURCE_NOT_FOUND.says('QuotaSpec', f'{namespace}/{reference.name}')}; nothing is charged"
                yield finding(REFERENCED_RESOURCE_NOT_FOUND, binding, at, text)


def policy_targets(view: View) -> Iterable[Finding]:
    """A policy's services must exist; a token can only be read where the port says that it speaks HTTP."""
    return view.each(Policy, _policy_targets)


def _policy_targets(view: View, policy: Resource[Policy]) -> Iterator[Finding]:
    for target, at in each(policy.spec.targets, ("spec", "targets")):
        known = view.host(target.name, policy.namespace)
        if known is None:
            text = REFERENCED_RESOURCE_NOT_FOUND.says("service", f"{policy.namespace}/{target.name}")
            yield finding(REFERENCED_RESOURCE_NOT_FOUND, policy, (*at, "name"), text)
            continue
        for port, place in each(target.ports, (*at, "ports")):
            if port.name is not None and port.name not in {offered.name for offered in known.ports}:
                yield finding(POLICY_PORT_NAME, policy, place, POLICY_PORT_NAME.says(port.name, known.host))
        if any(origin.jwt is not None for origin in policy.spec.origins) and isinstance(known.resource.spec, Service):
            numbers = {port.number for port in target.ports} | {port.name for port in target.ports}
            yield from _jwt_ports(policy, known.resource, numbers - {None})


def _jwt_ports(policy: Resource[Policy], service: Resource[Service], wanted: set[int | str | None]) -> Iterator[Finding]:
    for port in service.spec.ports:
        if wanted and port.port not in wanted and port.name not in wanted:
            continue
        prefix = port.name.partition("-")[0]
        if port.protocol != "TCP" or prefix not in _HTTP_PREFIXES:
            text = JWT_ON_UNNAMED_PORT.says(port.port, port.name, port.protocol, port.targetPort or port.port)
            yield finding(JWT_ON_UNNAMED_PORT, policy, ("spec", "targets"), text)
