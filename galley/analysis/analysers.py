# SPDX-License-Identifier: Apache-2.0
"""All analysers, and the one function that runs them. An analyser that fails is itself a finding and does not stop the others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
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
from galley.analysis.view import Breathe, View

Analyser = Callable[[View], Iterator[Finding]]

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
) -> tuple[Finding, ...]:
    """Everything that is found and not suppressed at its resource, worst first; the same set always gives the same order.

    `breathe` is called every few resources, for who analyses beside something that must not wait. Without `control_plane_version`, versions
    of proxies are not compared.
    """
    view = View(resources, breathe, control_plane_version=control_plane_version)
    suppressed = {resource.key: codes for resource in view.resources if (codes := suppressed_codes(resource))}
    found = [each for analyser in analysers for each in _run(analyser, view) if not _is_suppressed(each, suppressed)]
    return tuple(sorted(found, key=order))


def order(found: Finding) -> tuple[Any, ...]:
    """Sorts findings as people read them: worst first."""
    return (LEVELS.index(found.level), found.code, found.resource or (), found.path, found.message)


def suppressed_codes(resource: Resource[Any]) -> frozenset[str]:
    """Codes that the resource itself says not to report about it: `galley.istio.io/analyze-suppress: "IST0101,IST0118"`; `*` is all."""
    value = resource.metadata.annotations.get(annotation.SUPPRESS, "")
    return frozenset(code for code in value.replace(" ", "").split(",") if code)


def _is_suppressed(found: Finding, suppressed: dict[ResourceKey, frozenset[str]]) -> bool:
    codes = suppressed.get(found.resource) if found.resource is not None else None
    return codes is not None and (found.code in codes or "*" in codes)


def _run(analyser: Analyser, view: View) -> Iterator[Finding]:
    try:
        yield from analyser(view)
    except Exception as error:
        name = f"{analyser.__module__.rpartition('.')[2]}.{analyser.__name__}"
        yield finding(INTERNAL_ERROR, None, (), INTERNAL_ERROR.says(f"analyser {name} failed: {type(error).__name__}: {error}"))
