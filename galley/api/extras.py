# SPDX-License-Identifier: Apache-2.0
"""What Galley knows beyond objects: findings, revisions, the files of the directory source. All under /apis/fourmast.io/v1."""

from __future__ import annotations

from typing import Any

import msgspec
from fastapi import APIRouter, Request, Response

from common.config.registry import registry
from common.identity.tokens import Caller
from galley.api.backend import Backend
from galley.distribution.sinks import sink_documents
from galley.errors import BadRequestError, ForbiddenError
from galley.store.model import Event
from galley.store.rows import ACTIONS

MOST_REVISIONS = 1000


def extra_routes(backend: Backend) -> APIRouter:
    router = APIRouter(prefix="/apis/fourmast.io/v1")

    @router.get("/findings", response_model=None)
    async def findings(request: Request) -> Response:
        """`?namespace=` narrows; a finding without a resource concerns the mesh and is shown to everybody."""
        parts, caller = backend(), _caller(request)
        namespace = request.query_params.get("namespace", "")
        items = []
        for finding in parts.findings.all():
            key = finding.resource
            if key is not None and (not caller.may_read(key.namespace) or (namespace and key.namespace != namespace)):
                continue
            stored = parts.store.snapshot.get(key) if key is not None else None
            items.append(
                {
                    "code": finding.code,
                    "name": finding.name,
                    "level": finding.level,
                    "resource": str(key) if key else "",
                    "message": finding.message,
                    "path": finding.path,
                    "file": stored.origin.file if stored else "",
                    "line": stored.origin.line if stored else 0,
                }
            )
        return _json({"items": items})

    @router.get("/revisions", response_model=None)
    async def revisions(request: Request) -> Response:
        """Newest first; `?kind=`, `?namespace=`, `?name=`, `?limit=` narrow."""
        parts, caller, query = backend(), _caller(request), request.query_params
        limit = query.get("limit", "100")
        if not limit.isdigit() or not 1 <= int(limit) <= MOST_REVISIONS:
            raise BadRequestError(f"limit must be a number from 1 to {MOST_REVISIONS}")
        word = query.get("kind", "")
        kind = registry.by_word(word) if word else None
        if word and kind is None:
            raise BadRequestError(f"unknown kind {word!r}")
        namespace = query.get("namespace", "")
        if namespace and not caller.may_read(namespace):
            raise ForbiddenError(f"{caller.name} may not read namespace {namespace}")
        events = await parts.store.history(
            collection=kind.collection if kind else "", namespace=namespace, name=query.get("name", ""), limit=int(limit)
        )
        return _json({"items": [_revision(event) for event in events if caller.may_read(event.stored.key.namespace)]})

    @router.get("/sources", response_model=None)
    async def sources(request: Request) -> Response:
        """Files of the directory source with their state; for admins, because they name paths of the host."""
        parts = backend()
        if not _caller(request).has("admin"):
            raise ForbiddenError("the sources name files of this host; it takes the role admin")
        return _json({"items": [state for source in parts.sources for state in source.states()]})

    @router.get("/sinks", response_model=None)
    async def sinks(request: Request) -> Response:
        """Who subscribes, and how far each is with each collection; for admins, because a sink's reasons may quote any namespace."""
        parts = backend()
        if not _caller(request).has("admin"):
            raise ForbiddenError("the state of the sinks concerns the whole mesh; it takes the role admin")
        return _json({"items": sink_documents(parts.sinks())})

    return router


def _caller(request: Request) -> Caller:
    caller: Caller = request.state.caller
    return caller


def _revision(event: Event) -> dict[str, Any]:
    return {
        "revision": event.revision,
        "at": event.at,
        "action": ACTIONS[event.type],
        "resource": str(event.stored.key),
        "actor": event.actor,
        "source": str(event.stored.origin),
        "traceparent": event.stored.traceparent,
        "object": msgspec.Raw(event.stored.body),
    }


def _json(value: Any) -> Response:
    return Response(msgspec.json.encode(value), media_type="application/json")
