# SPDX-License-Identifier: Apache-2.0
"""All analysers, and the one function that runs them. An analyser that fails is itself a finding and does not stop the others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final

from common.config.resource import Resource, ResourceKey
from galley.analysis import (
    annotation,
    authorization,
    deprecation,
    destination_rules,
    enforcement,
    envoy_filters,
    gateways,
    mutual_tls,
    policy_rules,
    schema,
    service_entries,
    services,
    sidecars,
    virtual_services,
    workloads,
)
from galley.analysis.codes import INTERNAL_ERROR, LEVELS
from galley.analysis.finding import Finding, finding
from galley.analysis.memory import Memory
from galley.analysis.suggestion import Found, with_suggestions
from galley.analysis.view import Breathe, View

Analyser = Callable[[View], Iterable[Found]]

ANALYSERS: Final[tuple[Analyser, ...]] = (
    schema.schema_errors,
    enforcement.not_enforced,
    annotation.misuse,
    authorization.role_references,
    authorization.role_services,
    deprecation.deprecated_fields,
    destination_rules.known_hosts,
    destination_rules.subsets,
    destination_rules.server_verification,
    envoy_filters.operations,
    gateways.selectors_and_ports,
    gateways.conflicts,
    gateways.certificates,
    mutual_tls.conflicts,
    policy_rules.mixer_references,
    policy_rules.quota_references,
    policy_rules.policy_targets,
    service_entries.addresses,
    service_entries.protocols,
    services.port_names,
    services.external_names,
    sidecars.selectors,
    sidecars.namespace_wide,
    virtual_services.destinations,
    virtual_services.gateways,
    virtual_services.conflicts,
    virtual_services.unreachable_rules,
    workloads.namespaces,
    workloads.without_proxy,
    workloads.proxy_versions,
    workloads.service_associations,
    workloads.policy_selectors,
)


def analyze(
    resources: Iterable[Resource[Any]],
    analysers: Iterable[Analyser] = ANALYSERS,
    *,
    breathe: Breathe = lambda: None,
    control_plane_version: str = "",
    memory: Memory | None = None,
) -> tuple[Finding, ...]:
    """Everything that is found and not suppressed at its resource, worst first; the same set always gives the same order.

    `breathe` is called every few resources, for who analyses beside something that must not wait. Without `control_plane_version`, versions
    of proxies are not compared. Who analyses again and again hands the same `memory` to each analysis, and the same object for each
    resource that did not change: then an analysis costs what changed, and finds the same.
    """
    view = View(resources, breathe, control_plane_version=control_plane_version, memory=memory)
    raised = [each for analyser in analysers for each in _run(analyser, view)]
    suppressed = dict(view.each_of_all(_suppressed))
    found = sorted((each for each in with_suggestions(view, raised) if not _is_suppressed(each, suppressed)), key=order)
    view.keep()
    return tuple(found)


def order(found: Finding) -> tuple[Any, ...]:
    """Sorts findings as people read them: worst first."""
    return (LEVELS.index(found.level), found.code, found.resource or (), found.path, found.message)


def suppressed_codes(resource: Resource[Any]) -> frozenset[str]:
    """Codes that the resource itself says not to report about it: `galley.istio.io/analyze-suppress: "IST0101,IST0118"`; `*` is all."""
    value = resource.metadata.annotations.get(annotation.SUPPRESS, "")
    return frozenset(code for code in value.replace(" ", "").split(",") if code)


def _suppressed(view: View, resource: Resource[Any]) -> Iterator[tuple[ResourceKey, frozenset[str]]]:
    if codes := suppressed_codes(resource):
        yield resource.key, codes


def _is_suppressed(found: Finding, suppressed: dict[ResourceKey, frozenset[str]]) -> bool:
    codes = suppressed.get(found.resource) if found.resource is not None else None
    return codes is not None and (found.code in codes or "*" in codes)


def _run(analyser: Analyser, view: View) -> Sequence[Found]:
    """What an analyser says, or said the last time if all that it looked up is the same."""
    said: list[Found] = []

    def run(view: View) -> Sequence[Found]:
        for each in analyser(view):
            said.append(each)
        return said

    try:
        return view.once(run, key=analyser)
    except Exception as error:
        name = f"{analyser.__module__.rpartition('.')[2]}.{analyser.__name__}"
        text = INTERNAL_ERROR.says(f"analyser {name} failed: {type(error).__name__}: {error}")
        return [*said, finding(INTERNAL_ERROR, None, (), text)]
