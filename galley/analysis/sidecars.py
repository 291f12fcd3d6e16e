# SPDX-License-Identifier: Apache-2.0
"""Sidecars: one workload can follow only one of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from common.config.kinds.sidecar import Sidecar
from common.config.resource import Resource
from galley.analysis.codes import CONFLICTING_SIDECAR_SELECTORS, MULTIPLE_SIDECARS_WITHOUT_SELECTORS, REFERENCED_RESOURCE_NOT_FOUND
from galley.analysis.finding import Finding, finding, labels_text, listed
from galley.analysis.view import View


def selectors(view: View) -> Iterator[Finding]:
    """A selector must choose something, and no workload may be chosen twice."""
    chosen: dict[tuple[str, str], list[Resource[Sidecar]]] = defaultdict(list)
    for sidecar in view.of(Sidecar):
        if sidecar.spec.workloadSelector is None:
            continue
        labels = sidecar.spec.workloadSelector.labels
        workloads = list(view.workloads(sidecar.namespace, labels))
        for workload in workloads:
            chosen[workload.namespace, workload.name].append(sidecar)
        if not workloads and view.knows_workloads:
            text = REFERENCED_RESOURCE_NOT_FOUND.says("selector", labels_text(labels))
            yield finding(REFERENCED_RESOURCE_NOT_FOUND, sidecar, ("spec", "workloadSelector"), text)
    for (namespace, name), sidecars in chosen.items():
        if len(sidecars) > 1:
            text = CONFLICTING_SIDECAR_SELECTORS.says(listed(sidecar.name for sidecar in sidecars), namespace, name)
            for sidecar in sidecars:
                yield finding(CONFLICTING_SIDECAR_SELECTORS, sidecar, ("spec", "workloadSelector"), text)


def namespace_wide(view: View) -> Iterator[Finding]:
    """A namespace may have one Sidecar without a selector."""
    wide: dict[str, list[Resource[Sidecar]]] = defaultdict(list)
    for sidecar in view.of(Sidecar):
        if sidecar.spec.workloadSelector is None:
            wide[sidecar.namespace].append(sidecar)
    for namespace, sidecars in wide.items():
        if len(sidecars) > 1:
            text = MULTIPLE_SIDECARS_WITHOUT_SELECTORS.says(listed(sidecar.name for sidecar in sidecars), namespace)
            for sidecar in sidecars:
                yield finding(MULTIPLE_SIDECARS_WITHOUT_SELECTORS, sidecar, ("spec",), text)
