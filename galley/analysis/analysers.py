# SPDX-License-Identifier: Apache-2.0
"""All analysers, and the one function that runs them. An analyser that fails is itself a finding and does not stop the others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from common.config.resource import Resource
from galley.analysis import deprecation, enforcement, gateways, policy_rules, schema, services, sidecars, virtual_services
from galley.analysis.finding import INTERNAL_ERROR, LEVELS, Finding, finding
from galley.analysis.view import View

Analyser = Callable[[View], Iterator[Finding]]

ANALYSERS: Final[tuple[Analyser, ...]] = (
    schema.schema_errors,
    enforcement.not_enforced,
    deprecation.deprecated_fields,
    virtual_services.destinations,
    virtual_services.gateways,
    virtual_services.conflicts,
    virtual_services.unreachable_rules,
    gateways.selectors_and_ports,
    gateways.conflicts,
    sidecars.selectors,
    sidecars.namespace_wide,
    services.port_names,
    services.destination_rule_hosts,
    policy_rules.mixer_references,
    policy_rules.quota_references,
    policy_rules.policy_targets,
)


def analyze(resources: Iterable[Resource[Any]], analysers: Iterable[Analyser] = ANALYSERS) -> tuple[Finding, ...]:
    """Everything that is found, worst first; the same set always gives the same order."""
    view = View(resources)
    found = [each for analyser in analysers for each in _run(analyser, view)]
    return tuple(sorted(found, key=lambda each: (LEVELS.index(each.level), each.code, each.resource or (), each.path, each.message)))


def _run(analyser: Analyser, view: View) -> Iterator[Finding]:
    try:
        yield from analyser(view)
    except Exception as error:
        name = f"{analyser.__module__.rpartition('.')[2]}.{analyser.__name__}"
        yield finding(INTERNAL_ERROR, None, (), f"Internal error: analyser {name} failed: {type(error).__name__}: {error}")
