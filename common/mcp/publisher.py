# SPDX-License-Identifier: Apache-2.0
"""The newest snapshot and the streams that wait for it: where Galley's store meets its sinks, whatever carries the messages."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

import structlog

from common.mcp.snapshot import Snapshot
from common.mcp.source import Answered, CollectionSync, Source
from common.proto.mcp import v1alpha1_pb2 as mcp

log = structlog.get_logger("mcp")


class Observer(Protocol):
    """Hears what happens on streams: metrics and status are made from it."""

    def connected(self, peer: str, now_connected: int) -> None: ...
    def answered(self, peer: str, answer: Answered) -> None: ...
    def sent(self, peer: str, response: mcp.Resources) -> None: ...
    def lagging(self, sinks: int) -> None:
        """How many connected sinks have not taken the newest state."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SinkSync:
    """One connected sink, and how far it is."""

    peer: str
    node_id: str
    since: str
    collections: tuple[CollectionSync, ...]

    @property
    def is_synced(self) -> bool:
        return all(collection.state == "SYNCED" for collection in self.collections)


@dataclass(frozen=True, slots=True, eq=False)
class _Stream:
    peer: str
    source: Source
    since: str


class Publisher:
    """Holds the newest snapshot; each served stream is woken when it changes."""

    def __init__(self, observer: Observer | None = None, *, incremental: bool = True) -> None:
        self._observer = observer
        self._incremental = incremental
        self._snapshot: Snapshot | None = None
        self._streams: dict[asyncio.Event, _Stream] = {}

    @property
    def snapshot(self) -> Snapshot | None:
        return self._snapshot

    @property
    def peers(self) -> tuple[str, ...]:
        """Who is connected now."""
        return tuple(stream.peer for stream in self._streams.values())

    @property
    def sinks(self) -> tuple[SinkSync, ...]:
        """Who is connected now, and what each of them holds of the newest snapshot."""
        return tuple(
            SinkSync(peer=stream.peer, node_id=stream.source.node_id, since=stream.since, collections=stream.source.sync())
            for stream in self._streams.values()
        )

    def publish(self, snapshot: Snapshot) -> None:
        """Replace the snapshot. Returns at once; each stream sends when its sink is ready."""
        self._snapshot = snapshot
        for wake, stream in self._streams.items():
            stream.source.publish(snapshot)
            wake.set()
        if self._observer is not None:
            self._observer.lagging(self._lagging())

    async def serve(
        self, requests: AsyncIterator[mcp.RequestResources], send: Callable[[mcp.Resources], Awaitable[None]], *, peer: str
    ) -> None:
        """Serve one stream until its requests end. `peer` names the sink in logs and metrics."""
        source = Source(incremental=self._incremental)
        wake = asyncio.Event()
        since = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        self._streams[wake] = _Stream(peer, source, since)
        self._tell_connected(peer)
        ended = False

        async def read() -> None:
            nonlocal ended
            try:
                async for request in requests:
                    answer = source.receive(request)
                    if answer.error:
                        log.warning("sink refuses a collection", peer=peer, collection=answer.collection, reason=answer.error)
                    if self._observer is not None:
                        self._observer.answered(peer, answer)
                        self._observer.lagging(self._lagging())
                    wake.set()
            finally:
                ended = True
                wake.set()

        if self._snapshot is not None:
            source.publish(self._snapshot)
        reading = asyncio.create_task(read(), name=f"mcp requests of {peer}")
        try:
            while True:
                while (response := source.next()) is not None:
                    await send(response)
                    if self._observer is not None:
                        self._observer.sent(peer, response)
                if ended:
                    break
                await wake.wait()
                wake.clear()
            await reading
        finally:
            reading.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await reading
            del self._streams[wake]
            self._tell_connected(peer)

    def _lagging(self) -> int:
        return sum(not stream.source.is_synced for stream in self._streams.values())

    def _tell_connected(self, peer: str) -> None:
        if self._observer is not None:
            self._observer.connected(peer, len(self._streams))
            self._observer.lagging(self._lagging())
