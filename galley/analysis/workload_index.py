# SPDX-License-Identifier: Apache-2.0
"""Workloads by their labels: the largest index of the analysis, and the one that changes most often."""

from __future__ import annotations

from bisect import insort
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from common.config.kinds.service_entry import WorkloadEntry
from common.config.resource import Resource
from galley.analysis.groups import Change, place

_REGISTERED: Final = "fourmast.io/registered"
_TLS_MODE: Final = "security.istio.io/tlsMode"

Shelf = tuple[str | None, ...]
"""(namespace, label, value), or (namespace,) for all of it; None is any namespace."""


class WorkloadIndex:
    """Immutable. All lists are in the order of the workloads."""

    def __init__(self, shelves: Mapping[Shelf, Sequence[Resource[WorkloadEntry]]]) -> None:
        self._shelves = shelves

    @classmethod
    def of(cls, workloads: Sequence[Resource[WorkloadEntry]]) -> WorkloadIndex:
        shelves: dict[Shelf, list[Resource[WorkloadEntry]]] = defaultdict(list)
        for workload in workloads:
            for shelf in _shelves(workload):
                shelves[shelf].append(workload)
        return cls(dict(shelves))

    def after(self, change: Change) -> WorkloadIndex:
        """The index of the workloads as they are after this change."""
        if not change.is_small:
            return WorkloadIndex.of(change.after.members)
        gone = {id(workload) for workload in change.gone}
        touched = {shelf for workload in (*change.gone, *change.new) for shelf in _shelves(workload)}
        drafts = {shelf: [workload for workload in self._shelves.get(shelf, ()) if id(workload) not in gone] for shelf in touched}
        for workload in change.new:
            for shelf in _shelves(workload):
                insort(drafts[shelf], workload, key=place)
        return WorkloadIndex({shelf: found for shelf, found in {**self._shelves, **drafts}.items() if found})

    def carrying(self, namespace: str | None, labels: Mapping[str, str]) -> Iterator[Resource[WorkloadEntry]]:
        """Workloads that carry all the labels; None means in any namespace."""
        if not labels:
            yield from self._shelves.get((namespace,), ())
            return
        fewest = min((self._shelves.get((namespace, *label), ()) for label in labels.items()), key=len)
        yield from (workload for workload in fewest if labels.items() <= labels_of(workload).items())


def _shelves(workload: Resource[WorkloadEntry]) -> Iterator[Shelf]:
    namespace = workload.namespace
    yield (namespace,)
    yield (None,)
    for name, value in labels_of(workload).items():
        yield (namespace, name, value)
        yield (None, name, value)


def labels_of(workload: Resource[WorkloadEntry]) -> Mapping[str, str]:
    """Those of the spec, else those of the object: the same choice as Pilot's."""
    return workload.spec.labels or workload.metadata.labels


def has_sidecar(workload: Resource[Any]) -> bool:
    """Whether a proxy stands before it: an agent registered it, or its label says so."""
    return workload.metadata.annotations.get(_REGISTERED) == "true" or labels_of(workload).get(_TLS_MODE) == "istio"
