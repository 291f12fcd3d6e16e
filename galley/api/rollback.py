# SPDX-License-Identifier: Apache-2.0
"""Back to an earlier revision, and away with many objects at once: like a batch, all or nothing.

POST /apis/fourmast.io/v1/rollback
{"revision": 12, "kind": "virtualservice", "namespace": "default", "name": "reviews", "dryRun": false}     empty kind, namespace, name: any
200 {"items": [{"resource": "VirtualService default/reviews", "action": "configured", "problems": []}], "revision": 31}
422 the same shape when an object of then breaks a rule of today: `action` is null everywhere, nothing was stored

POST /apis/fourmast.io/v1/delete
{"items": [{"apiVersion": "v1", "kind": "Service", "namespace": "default", "name": "reviews"}], "missingOk": true, "dryRun": false}
200 the same shape; `action` is `deleted`, or `unchanged` for what was not there
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import msgspec
from fastapi import APIRouter, Request, Response

from common.config.problem import Problem
from common.config.registry import Kind, UnknownKindError, registry
from common.config.resource import ResourceKey, to_document
from common.identity.tokens import Caller
from galley.api import writing
from galley.api.backend import Backend, Parts
from galley.api.body import read_bytes
from galley.errors import BadRequestError, ForbiddenError
from galley.store.model import Delete, Intent, Outcome, Put
from galley.store.plan import by_key

T = TypeVar("T", bound=msgspec.Struct)

Problems = Mapping[ResourceKey, tuple[Problem, ...]]


class Rollback(msgspec.Struct, frozen=True, rename="camel"):
    """`revision` is the one to go back to: everything that matches becomes as it was right after it; 0 is the empty mesh."""

    revision: int
    kind: str = ""
    namespace: str = ""
    name: str = ""
    dry_run: bool = False


class Target(msgspec.Struct, frozen=True, rename="camel"):
    """`kind` is any word for it; with `apiVersion` it is the kind's own name, which no other kind shares."""

    kind: str
    name: str
    namespace: str = ""
    api_version: str = ""


class Deletion(msgspec.Struct, frozen=True, rename="camel"):
    """Objects go in the order of the list."""

    items: list[Target]
    missing_ok: bool = False
    dry_run: bool = False


def rollback_routes(backend: Backend) -> APIRouter:
    router = APIRouter(prefix="/apis/fourmast.io/v1")

    @router.post("/rollback", response_model=None)
    async def rollback(request: Request) -> Response:
        wanted, parts = await _read(request, Rollback), backend()
        collection = _kind(wanted.kind).collection if wanted.kind else ""
        intents = await parts.store.restoring(wanted.revision, collection=collection, namespace=wanted.namespace, name=wanted.name)
        _check(backend, request, intents)
        problems = await asyncio.to_thread(_problems, parts, intents)
        if problems:
            return _answer(422, intents, {}, problems)
        outcomes = await writing.write(request, backend, request.state.caller, intents, dry_run=wanted.dry_run)
        return _answer(200, intents, by_key(outcomes), problems, revision=parts.store.snapshot.revision)

    @router.post("/delete", response_model=None)
    async def delete(request: Request) -> Response:
        wanted = await _read(request, Deletion)
        intents = [Delete(key=_key(item), missing_ok=wanted.missing_ok) for item in wanted.items]
        _check(backend, request, intents)
        outcomes = await writing.write(request, backend, request.state.caller, intents, dry_run=wanted.dry_run)
        return _answer(200, intents, by_key(outcomes), {}, revision=backend().store.snapshot.revision)

    return router


async def _read(request: Request, shape: type[T]) -> T:
    try:
        return msgspec.json.decode(await read_bytes(request), type=shape)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequestError(f"the request cannot be read: {error}") from error


def _kind(word: str, api_version: str = "") -> Kind:
    try:
        kind = registry.find(api_version, word) if api_version else registry.by_word(word)
    except UnknownKindError as error:
        raise BadRequestError(str(error)) from error
    if kind is None:
        raise BadRequestError(f"unknown kind {word!r}")
    return kind


def _key(target: Target) -> ResourceKey:
    kind = _kind(target.kind, target.api_version)
    if bool(target.namespace) == kind.cluster_scoped:
        raise BadRequestError(
            f"{kind.plural} are {'not ' if kind.cluster_scoped else ''}namespaced: {target.namespace!r} is no place for one"
        )
    return ResourceKey(kind.collection, target.namespace, target.name)


def _check(backend: Backend, request: Request, intents: Sequence[Intent]) -> None:
    """Raises ForbiddenError unless the caller may do every one of these. It names no object that the caller may not see: a rollback
    of everything would list them."""
    caller: Caller = request.state.caller
    for intent in intents:
        if not caller.may_read(intent.key.namespace):
            raise ForbiddenError(f"{caller.name} ({caller.role}) may not change some of these objects; name a namespace of your own")
        kind = registry.by_collection(intent.key.collection)
        if kind is None:
            raise AssertionError("stored objects have kinds")
        writing.check(backend, request.state.caller, kind, intent.key, intent.resource if isinstance(intent, Put) else None)


def _problems(parts: Parts, intents: Sequence[Intent]) -> Problems:
    """What today's rules say of the objects that would come back."""
    restored = [intent for intent in intents if isinstance(intent, Put)]
    found = parts.admission.documents([to_document(intent.resource) for intent in restored], namespace=writing.DEFAULT_NAMESPACE)
    return {intent.key: admitted.problems for intent, admitted in zip(restored, found, strict=True) if admitted.problems}


def _answer(code: int, intents: Sequence[Intent], outcomes: Mapping[ResourceKey, Outcome], problems: Problems, **more: Any) -> Response:
    rows = [
        {
            "resource": str(intent.key),
            "action": outcomes[intent.key].action if outcomes else None,
            "problems": [{"path": each.path, "message": each.message} for each in problems.get(intent.key, ())],
        }
        for intent in intents
    ]
    return Response(msgspec.json.encode({"items": rows, **more}), code, media_type="application/json")
