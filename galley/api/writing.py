# SPDX-License-Identifier: Apache-2.0
"""The one way from a document in a request to the store: admit, check the caller, write, with a traceparent on it."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import Request
from opentelemetry import trace

from common.config.registry import Kind
from common.config.resource import Resource, ResourceKey
from common.identity.tokens import Caller
from common.telemetry.tracing import current_traceparent
from galley import metrics
from galley.api.access import check_write
from galley.api.backend import Backend
from galley.errors import BadRequestError, InvalidError
from galley.store.model import Intent, Outcome
from galley.validation.enforcement import gaps

DEFAULT_NAMESPACE = "default"
_GENERATED = "bcdfghjklmnpqrstvwxz2456789"
"""What Kubernetes makes names of: nothing that spells a word or looks like another character."""


def admit_for(backend: Backend, document: Mapping[str, Any], kind: Kind, namespace: str, name: str = "") -> Resource[Any]:
    """The resource of a request to the URL of (kind, namespace, name). Raises BadRequestError or InvalidError."""
    found = (document.get("apiVersion"), document.get("kind"))
    if found != (kind.api_version, kind.name):
        raise BadRequestError(f"the body is a {found[0]} {found[1]}, but the URL takes {kind.api_version} {kind.name}")
    raw = document.get("metadata")
    metadata: Mapping[str, Any] = raw if isinstance(raw, Mapping) else {}
    if metadata.get("namespace", namespace) != namespace and not kind.cluster_scoped:
        raise BadRequestError(f"metadata.namespace is {metadata['namespace']!r}, but the URL says {namespace!r}")
    if name and metadata.get("name", name) != name:
        raise BadRequestError(f"metadata.name is {metadata['name']!r}, but the URL says {name!r}")
    if name and "name" not in metadata:
        document = {**document, "metadata": {**metadata, "name": name}}
    elif not metadata.get("name") and isinstance(metadata.get("generateName"), str):  # only creating has no name in its URL
        metadata = {**metadata, "name": metadata["generateName"] + "".join(secrets.choice(_GENERATED) for _ in range(5))}
        document = {**document, "metadata": metadata}
    admitted = backend().admission.document(document, namespace=namespace)
    if admitted.resource is None or admitted.problems:
        key = ResourceKey(kind.collection, "" if kind.cluster_scoped else namespace, str(metadata.get("name", "")))
        raise InvalidError(admitted.problems, key=admitted.resource.key if admitted.resource else key)
    return admitted.resource


def check(backend: Backend, caller: Caller, kind: Kind, key: ResourceKey, wanted: Resource[Any] | None) -> None:
    """Raises ForbiddenError unless the caller may turn the present object into `wanted` (None: delete it)."""
    present = backend().store.snapshot.get(key)
    check_write(caller, kind, key, wanted, present.resource if present else None)


async def write(request: Request, backend: Backend, caller: Caller, intents: Sequence[Intent], *, dry_run: bool) -> tuple[Outcome, ...]:
    """Do all or nothing. The trace of the request (or a new one) is stored with the revisions and travels to Envoy."""
    store = backend().store
    span = trace.get_current_span()  # the request's own: see `galley.api.traces.accepting`
    span.set_attribute("caller", caller.name)
    span.set_attribute("objects", len(intents))
    traceparent = current_traceparent() or f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01"
    outcomes = await store.write(intents, actor=caller.name, traceparent=traceparent, dry_run=dry_run)
    if not dry_run:
        for outcome in outcomes:
            metrics.WRITES.add(1, outcome.action)
    return outcomes


def warnings(resource: Resource[Any]) -> dict[str, str]:
    """Headers that kubectl prints: what is stored although this version does not enforce it."""
    said = [f'299 - "{gap.message}"' for gap in gaps(resource)]
    return {"Warning": ", ".join(said)} if said else {}


def is_dry_run(request: Request) -> bool:
    values = request.query_params.getlist("dryRun")
    if any(value != "All" for value in values):
        raise BadRequestError("dryRun can only be All")
    return bool(values)
