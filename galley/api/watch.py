# SPDX-License-Identifier: Apache-2.0
"""Watch: a list's continuation as JSON lines. Revisions drive it, so it can begin at any version that is still remembered.

Workloads that agents registered have no revisions and do not appear in watches, only in get and list.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import msgspec
from fastapi import Request
from fastapi.responses import StreamingResponse

from common.config.registry import Kind
from galley.api import render
from galley.api.backend import Parts
from galley.api.selectors import Test
from galley.api.status_object import of_error
from galley.errors import BadRequestError, ExpiredError
from galley.store.model import Event

BOOKMARK_SECONDS = 30.0
LONGEST = 3600.0  # seconds; clients watch again from where they were

_JSON = msgspec.json.Encoder()


def watch(request: Request, parts: Parts, kind: Kind, keep: Test, stopping: asyncio.Event) -> StreamingResponse:
    """The stream. Raises ExpiredError (410) before it begins when the version asked for is too old."""
    query = request.query_params
    since, initial = _since(query.get("resourceVersion", ""), parts)
    try:
        timeout = min(float(query.get("timeoutSeconds", LONGEST)), LONGEST)
    except ValueError as error:
        raise BadRequestError("timeoutSeconds must be a number") from error
    bookmarks = query.get("allowWatchBookmarks") in ("1", "true")
    parts.store.feed.since(since)
    lines = _lines(parts, kind, keep, since, initial=initial, bookmarks=bookmarks, timeout=timeout, stopping=stopping)
    return StreamingResponse(lines, media_type="application/json")


def _since(version: str, parts: Parts) -> tuple[int, bool]:
    """Where to begin, and whether the present objects come first (no version or 0, as in Kubernetes)."""
    if version in ("", "0"):
        return parts.store.snapshot.revision, True
    if not version.isdigit():
        raise BadRequestError(f"resourceVersion {version!r} is not a number; take it from a list")
    return int(version), False


async def _lines(
    parts: Parts, kind: Kind, keep: Test, since: int, *, initial: bool, bookmarks: bool, timeout: float, stopping: asyncio.Event
) -> AsyncIterator[bytes]:
    if initial:
        snapshot = parts.store.snapshot
        since = snapshot.revision
        for stored in snapshot.collection(kind.collection).objects.values():
            if keep(stored.resource.metadata):
                yield _line("ADDED", render.with_status(parts, stored))
    loop = asyncio.get_running_loop()
    end = loop.time() + timeout
    stop = asyncio.create_task(stopping.wait(), name="watch-stop")
    try:
        while not stop.done() and loop.time() < end:
            appended = parts.store.feed.next_append()
            changed = asyncio.create_task(appended.wait(), name="watch")
            try:
                events = parts.store.feed.since(since)
                for event in events:
                    since = event.revision
                    if event.stored.key.collection == kind.collection and keep(event.stored.resource.metadata):
                        yield _line(event.type, _body(parts, event))
                since = max(since, parts.store.feed.revision)
                if events:
                    continue
                wait = min(BOOKMARK_SECONDS, end - loop.time())
                await asyncio.wait([changed, stop], timeout=max(0.0, wait), return_when=asyncio.FIRST_COMPLETED)
                if bookmarks and not changed.done():
                    yield _bookmark(kind, since)
            finally:
                changed.cancel()
    except ExpiredError as error:
        yield _line("ERROR", _JSON.encode(of_error(error)))
    finally:
        stop.cancel()


def _body(parts: Parts, event: Event) -> bytes:
    return event.stored.body if event.type == "DELETED" else render.with_status(parts, event.stored)


def _line(type_: str, body: bytes) -> bytes:
    return b'{"type":"' + type_.encode() + b'","object":' + body + b"}\n"


def _bookmark(kind: Kind, revision: int) -> bytes:
    metadata = {"resourceVersion": str(revision), "creationTimestamp": None}
    return _line("BOOKMARK", _JSON.encode({"kind": kind.name, "apiVersion": kind.api_version, "metadata": metadata}))
