# SPDX-License-Identifier: Apache-2.0
"""Many documents, all or nothing: what `fourmast apply` sends. One transaction, so Pilot never sees half of a change.

POST /apis/fourmast.io/v1/batch
{"items": [{"document": {...}, "source": {"file": "reviews.yaml", "line": 12}}], "namespace": "default", "dryRun": false}
200 {"items": [{"resource": "VirtualService default/reviews", "action": "created", "problems": []}]}
    with "warnings": ["..."] at an item that is stored although this version does not enforce it
422 the same shape when any document is invalid: `action` is null everywhere, nothing was stored
"""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
from fastapi import APIRouter, Request, Response

from common.config.problem import Problem
from common.config.resource import ResourceKey
from galley.api import writing
from galley.api.backend import Backend
from galley.api.body import read_bytes
from galley.errors import BadRequestError
from galley.sources.admission import Admitted
from galley.store.model import Origin, Outcome, Put
from galley.store.plan import by_key
from galley.validation.enforcement import gaps

MOST_ITEMS = 10_000


class Source(msgspec.Struct, frozen=True):
    """Where the caller read the document; kept with the object for people."""

    file: str = ""
    line: int = 0


class Item(msgspec.Struct, frozen=True):
    document: dict[str, Any]
    source: Source = Source()


class Batch(msgspec.Struct, frozen=True, rename="camel"):
    items: list[Item]
    namespace: str = writing.DEFAULT_NAMESPACE
    dry_run: bool = False


def batch_routes(backend: Backend) -> APIRouter:
    router = APIRouter()

    @router.post("/apis/fourmast.io/v1/batch", response_model=None)
    async def batch(request: Request) -> Response:
        caller = request.state.caller
        parts = backend()
        wanted = await _read(request)
        documents = [item.document for item in wanted.items]
        # Many documents are looked at in a thread: in istiod this loop also answers Mixer's checks.
        found = await asyncio.to_thread(parts.admission.documents, documents, namespace=wanted.namespace)
        _refuse_repetitions(found)
        if any(f.problems or f.resource is None for f in found):
            return _answer(422, [_row(item, f, None) for item, f in zip(wanted.items, found, strict=True)])
        intents = []
        for item, admitted in zip(wanted.items, found, strict=True):
            if admitted.resource is None:
                raise AssertionError("looked at above")
            resource = admitted.resource
            writing.check(backend, caller, resource.kind, resource.key, resource)
            origin = Origin(file=item.source.file, line=item.source.line)
            intents.append(Put(resource=resource, origin=origin, expected=resource.metadata.resourceVersion))
        outcomes = by_key(await writing.write(request, backend, caller, intents, dry_run=wanted.dry_run))
        rows = [_row(item, f, outcomes) for item, f in zip(wanted.items, found, strict=True)]
        return _answer(200, rows, revision=parts.store.snapshot.revision)

    return router


async def _read(request: Request) -> Batch:
    raw = await read_bytes(request)
    try:
        batch = msgspec.json.decode(raw, type=Batch)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequestError(f"the batch cannot be read: {error}") from error
    if len(batch.items) > MOST_ITEMS:
        raise BadRequestError(f"a batch has at most {MOST_ITEMS} items, this one {len(batch.items)}; split it")
    return batch


def _refuse_repetitions(found: list[Admitted]) -> None:
    """The same object twice in one batch is a mistake of the author, not a wish."""
    seen: set[ResourceKey] = set()
    for place, admitted in enumerate(found):
        if admitted.resource is None:
            continue
        key = admitted.resource.key
        if key in seen:
            problem = Problem(path="metadata.name", message=f"{key} is in this batch twice; keep one of them")
            found[place] = Admitted(admitted.resource, (*admitted.problems, problem))
        seen.add(key)


def _row(item: Item, admitted: Admitted, outcomes: dict[ResourceKey, Outcome] | None) -> dict[str, Any]:
    resource = admitted.resource
    warnings = [gap.message for gap in gaps(resource)] if resource else []
    return {
        "resource": str(resource.key) if resource else _name(item.document),
        "action": outcomes[resource.key].action if outcomes and resource else None,
        "problems": [_problem(p, item.source.line) for p in admitted.problems],
        **({"warnings": warnings} if warnings else {}),
    }


def _name(document: dict[str, Any]) -> str:
    """As much of `VirtualService default/reviews` as an unusable document says."""
    metadata = document.get("metadata")
    known = metadata if isinstance(metadata, dict) else {}
    name = "/".join(str(known[part]) for part in ("namespace", "name") if known.get(part))
    return f"{document.get('kind') or 'document'} {name}".strip()


def _problem(problem: Problem, line: int) -> dict[str, Any]:
    return {"path": problem.path, "message": problem.message, "line": problem.line or line or None}


def _answer(code: int, rows: list[dict[str, Any]], **more: Any) -> Response:
    return Response(msgspec.json.encode({"items": rows, **more}), code, media_type="application/json")
