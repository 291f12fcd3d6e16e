# SPDX-License-Identifier: Apache-2.0
"""Watch: a list's continuation as JSON lines. Revisions drive it, so it can begin at any version that is still remembered.

Workloads that agents registered have no revisions; a watch over WorkloadEntries follows them in a feed of their own beside the store's.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec
from fastapi import Request
from fastapi.responses import StreamingResponse

from common.config.kinds.networking import WORKLOAD_ENTRY
from common.config.registry import Kind
from common.config.resource import Resource, encode
from galley.api import render
from galley.api.backend import Parts
from galley.api.membership import Membership, Selection
from galley.api.status_object import of_error
from galley.api.tables import TableForm, table
from galley.errors import BadRequestError, ExpiredError
from galley.store.model import Event, EventType
from galley.store.workload_feed import Position, WorkloadEvent

BOOKMARK_SECONDS = 30.0
LONGEST = 3600.0  # seconds; clients watch again from where they were
INITIAL_EVENTS_END = "k8s.io/initial-events-end"
"""Annotation of the bookmark after the present objects, for clients that asked for both (Kubernetes' streaming lists)."""

_JSON = msgspec.json.Encoder()


def watch(
    request: Request, parts: Parts, kind: Kind, selection: Selection, stopping: asyncio.Event, form: TableForm | None
) -> StreamingResponse:
    """The stream. Raises ExpiredError (410) before it begins when the version asked for is too old."""
    query = request.query_params
    try:
        timeout = min(float(query.get("timeoutSeconds", LONGEST)), LONGEST)
    except ValueError as error:
        raise BadRequestError("timeoutSeconds must be a number") from error
    streamed_list = query.get("sendInitialEvents") in ("1", "true")
    version = query.get("resourceVersion", "")
    # No version or 0 means: the present objects first, as in Kubernetes.
    begin = None if streamed_list or version in ("", "0") else _position(parts, kind, version)
    stream = _Stream(parts, kind, selection, Membership(selection), form)
    bookmarks = query.get("allowWatchBookmarks") in ("1", "true")
    lines = stream.lines(begin, bookmarks=bookmarks, mark_initial=streamed_list and bookmarks, timeout=timeout, stopping=stopping)
    return StreamingResponse(lines, media_type="application/json")


def _position(parts: Parts, kind: Kind, version: str) -> Position:
    if kind is WORKLOAD_ENTRY:
        position = parts.workload_feed.position(version)
        parts.workload_feed.since(position.number)
    elif version.isascii() and version.isdigit():
        position = Position(int(version), parts.workload_feed.number)
    else:
        raise BadRequestError(f"resourceVersion {version!r} is not a number; take it from a list")
    parts.store.feed.since(position.revision)
    return position


@dataclass(slots=True)
class _Stream:
    """One watch."""

    parts: Parts
    kind: Kind
    selection: Selection
    membership: Membership
    form: TableForm | None
    position: Position = field(init=False)
    header_sent: bool = field(init=False, default=False)

    async def lines(
        self, begin: Position | None, *, bookmarks: bool, mark_initial: bool, timeout: float, stopping: asyncio.Event
    ) -> AsyncIterator[bytes]:
        for line in self._present(mark=mark_initial) if begin is None else self._from(begin):
            yield line
        loop = asyncio.get_running_loop()
        end = loop.time() + timeout
        stop = asyncio.create_task(stopping.wait(), name="watch-stop")
        try:
            while not stop.done() and loop.time() < end:
                wakes = [asyncio.create_task(event.wait(), name="watch") for event in self._wakes()]
                try:
                    news = self._news()
                    for line in news:
                        yield line
                    if news:
                        continue
                    wait = min(BOOKMARK_SECONDS, end - loop.time())
                    await asyncio.wait([*wakes, stop], timeout=max(0.0, wait), return_when=asyncio.FIRST_COMPLETED)
                    if bookmarks and not any(wake.done() for wake in wakes):
                        yield self._bookmark()
                finally:
                    for wake in wakes:
                        wake.cancel()
        except ExpiredError as error:
            yield _line("ERROR", _JSON.encode(of_error(error)))
        finally:
            stop.cancel()

    def _present(self, *, mark: bool) -> list[bytes]:
        """The objects of this moment."""
        self.position = self.parts.workload_feed.now
        present = [pair for pair in render.objects(self.parts, self.kind) if self.selection(pair[0].metadata)]
        self.membership.begin(resource.metadata for resource, _ in present)
        lines = [self._event("ADDED", resource, body) for resource, body in present]
        return [*lines, self._bookmark({INITIAL_EVENTS_END: "true"})] if mark else lines

    def _from(self, begin: Position) -> list[bytes]:
        self.position = begin
        if self.selection.labels is not None:
            present = (resource.metadata for resource, _ in render.objects(self.parts, self.kind))
            self.membership.begin(present, (resource.metadata for _, resource, _ in self._happened()))
        return []

    def _wakes(self) -> Iterator[asyncio.Event]:
        """Taken before looking, so that nothing falls between the two."""
        yield self.parts.store.feed.next_append()
        if self.kind is WORKLOAD_ENTRY:
            yield self.parts.workload_feed.next_append()

    def _news(self) -> list[bytes]:
        """What happened since the position, which moves on."""
        happened = self._happened()
        store, workloads = self.parts.store.feed, self.parts.workload_feed
        self.position = Position(max(self.position.revision, store.revision), workloads.number)
        told = ((self.membership.seen(type_, resource.metadata), resource, body) for type_, resource, body in happened if type_)
        return [self._event(type_, resource, body) for type_, resource, body in told if type_]

    def _happened(self) -> list[tuple[EventType | None, Resource[Any], bytes]]:
        """Events of this kind since the position. A registered workload that a configured one hides has no type."""
        events = self.parts.store.feed.since(self.position.revision)
        mine = [self._stored(event) for event in events if event.stored.key.collection == self.kind.collection]
        if self.kind is WORKLOAD_ENTRY:
            mine += [self._registered(event) for event in self.parts.workload_feed.since(self.position.number)]
        return mine

    def _stored(self, event: Event) -> tuple[EventType | None, Resource[Any], bytes]:
        resource = event.stored.resource
        if event.type != "DELETED":
            return event.type, resource, render.with_status(self.parts, event.stored)
        if self.kind is WORKLOAD_ENTRY and (below := self.parts.workloads.get((resource.namespace, resource.name))) is not None:
            return "MODIFIED", below, encode(below)  # an agent had registered one of that name: it is seen again
        return event.type, resource, event.stored.body

    def _registered(self, event: WorkloadEvent) -> tuple[EventType | None, Resource[Any], bytes]:
        hidden = self.parts.store.snapshot.get(event.resource.key) is not None
        resource = self.parts.workload_feed.at(event)
        return None if hidden else event.type, resource, encode(resource)

    def _event(self, type_: EventType, resource: Resource[Any], body: bytes) -> bytes:
        if self.form is None:
            return _line(type_, body)
        return _line(type_, self._table([(resource, body)], resource.metadata.resourceVersion))

    def _table(self, pairs: Iterable[tuple[Resource[Any], bytes]], version: str) -> bytes:
        if self.form is None:
            raise AssertionError("only streams of tables hold tables")
        header, self.header_sent = not self.header_sent, True
        items = (render.table_item(self.parts, resource, body) for resource, body in pairs)
        return table(self.form, self.kind, version, items, header=header)

    def _bookmark(self, annotations: dict[str, str] | None = None) -> bytes:
        at, is_workload = self.position, self.kind is WORKLOAD_ENTRY
        version = self.parts.workload_feed.version(at) if is_workload else str(at.revision)
        if self.form is not None:
            return _line("BOOKMARK", self._table([], version))
        metadata = {"resourceVersion": version, "creationTimestamp": None} | ({"annotations": annotations} if annotations else {})
        return _line("BOOKMARK", _JSON.encode({"kind": self.kind.name, "apiVersion": self.kind.api_version, "metadata": metadata}))


def _line(type_: str, body: bytes) -> bytes:
    return b'{"type":"' + type_.encode() + b'","object":' + body + b"}\n"
