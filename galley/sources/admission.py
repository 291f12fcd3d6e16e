# SPDX-License-Identifier: Apache-2.0
"""Structure and semantic rules, with what is already stored as their context: manifests, adapters and templates describe other objects."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from common.config.kinds.mixer import ADAPTER, ATTRIBUTE_MANIFEST, TEMPLATE
from common.config.problem import Problem
from common.config.resource import Resource
from common.telemetry.tracing import tracer
from galley import metrics
from galley.store.model import Snapshot
from galley.validation import Context, DocumentResult, validate_files, validate_value
from galley.validation.context import STANDARD

_DESCRIBING = (ATTRIBUTE_MANIFEST, ADAPTER, TEMPLATE)


@dataclass(frozen=True, slots=True)
class Admitted:
    """A document that was looked at: a resource without problems may be stored. `resource` is None when the structure is wrong."""

    resource: Resource[Any] | None
    problems: tuple[Problem, ...] = ()

    @property
    def is_valid(self) -> bool:
        return self.resource is not None and not self.problems


class Admission:
    """Checks documents against the configuration of this moment."""

    def __init__(self, snapshot: Callable[[], Snapshot], *, lenient: bool = False) -> None:
        """`lenient` ignores unknown fields, as Istio 1.4 did."""
        self._snapshot, self._lenient = snapshot, lenient
        self._known: tuple[tuple[int, ...], Context] = ((), STANDARD)

    def documents(self, documents: Sequence[Mapping[str, Any]], *, namespace: str) -> list[Admitted]:
        """Check documents that are stored together; those that describe others hold for all of them. Never raises for a bad one."""
        with tracer("galley").start_as_current_span("galley.validate", attributes={"documents": len(documents)}):
            return self._documents(documents, namespace)

    def _documents(self, documents: Sequence[Mapping[str, Any]], namespace: str) -> list[Admitted]:
        context = self._context()
        describing = {(kind.api_version, kind.name) for kind in _DESCRIBING}
        own = [d for d in documents if (d.get("apiVersion"), d.get("kind")) in describing]
        if own:
            context = context.with_resources(r for r, _ in (self._check(d, namespace, context) for d in own) if r is not None)
        return [self._counted(document, Admitted(*self._check(document, namespace, context))) for document in documents]

    def document(self, document: Mapping[str, Any], *, namespace: str) -> Admitted:
        return self.documents([document], namespace=namespace)[0]

    def files(self, files: Iterable[tuple[str, bytes]]) -> list[DocumentResult]:
        """Check files that are stored together; problems know their lines."""
        with tracer("galley").start_as_current_span("galley.validate"):
            return validate_files(files, lenient=self._lenient, context=self._context())

    def _check(self, document: Mapping[str, Any], namespace: str, context: Context) -> tuple[Resource[Any] | None, tuple[Problem, ...]]:
        return validate_value(document, lenient=self._lenient, default_namespace=namespace, context=context)

    def _context(self) -> Context:
        snapshot = self._snapshot()
        collections = [snapshot.collection(kind.collection) for kind in _DESCRIBING]
        stamp = tuple(collection.revision for collection in collections)
        if stamp != self._known[0]:
            resources = [stored.resource for collection in collections for stored in collection.objects.values()]
            self._known = (stamp, STANDARD.with_resources(resources))
        return self._known[1]

    def _counted(self, document: Mapping[str, Any], admitted: Admitted) -> Admitted:
        group, _, version = str(document.get("apiVersion", "")).rpartition("/")
        kind = admitted.resource.kind.name if admitted.resource is not None else "unknown"
        if admitted.is_valid:
            metrics.VALIDATION_PASSED.add(1, group, version, kind)
        elif admitted.resource is None:
            metrics.VALIDATION_FAILED.add(1, "", "", kind, "crd_conversion_error")
        else:
            metrics.VALIDATION_FAILED.add(1, group, version, kind, "invalid_resource")
        return admitted
