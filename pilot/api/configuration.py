# SPDX-License-Identifier: Apache-2.0
"""All configuration that Pilot has, from Galley or from its own disk.

The last good set is kept on disk: a restarted Pilot serves it at once, even while Galley is away, and never an empty mesh. After a restart
it does not forget registered workloads for a while, either: a Galley that restarted too has yet to hear their heartbeats.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final

import structlog

from common.config.kinds.core import ENDPOINTS, SERVICE
from common.config.kinds.networking import SERVICE_ENTRY, WORKLOAD_ENTRY
from common.config.resource import Resource, ResourceKey
from common.mcp.change import Change
from common.mcp.lastgood import LastGood
from pilot import metrics
from pilot.api.propagation import received
from pilot.registry.workloads import REGISTERED_ANNOTATION

log = structlog.get_logger("model")

TRIGGERS: Final = {
    WORKLOAD_ENTRY.collection: "endpoint",
    ENDPOINTS.collection: "endpoint",
    SERVICE.collection: "service",
    SERVICE_ENTRY.collection: "service",
}
INBOUND: Final = {"endpoint": "eds", "service": "svc", "config": "config"}
PAUSE = 0.2  # seconds between two writes
AFTERWARDS = 0.05  # seconds from a change to the write, so that proxies get it first
SHARE_OF_TIME = 0.05  # of one thread, for writing the last good set while configuration keeps changing

Named = Mapping[str, Resource[Any]]
Listener = Callable[[str, str], None]
"""Called after a change with its trigger (config, service, endpoint) and its traceparent."""


class Configuration:
    """Collections of resources by MCP name."""

    def __init__(self, collections: Collection[str], *, last_good: LastGood | None, grace: float) -> None:
        """`grace` is in seconds after `restore`."""
        self.versions: dict[str, str] = {}
        """Collection -> Galley's version of it, as applied."""
        self.changed: Listener = lambda trigger, traceparent: None
        self._wanted = frozenset(collections)
        self._last_good = last_good
        self._grace = grace
        self._held: dict[str, dict[str, Resource[Any]]] = {}
        self._frozen: dict[str, Named] = {}
        self._unconfirmed: dict[str, Resource[Any]] = {}
        self._touched: set[ResourceKey] = set()
        self._from_galley: set[str] = set()
        self._unwritten: set[str] = set()
        self._dirty = asyncio.Event()
        self._writing: asyncio.Future[None] | None = None

    @property
    def is_complete(self) -> bool:
        """Every collection has come, from Galley or from disk."""
        return self._wanted <= self.versions.keys()

    @property
    def is_current(self) -> bool:
        """Every collection has come from Galley since the start."""
        return self._wanted <= self._from_galley

    @property
    def missing(self) -> list[str]:
        return sorted(self._wanted - self.versions.keys())

    def restore(self) -> None:
        """Take the last good set from disk (blocking)."""
        for change in self._last_good.load() if self._last_good is not None else ():
            if change.collection in self._wanted:
                self._apply(change)
        workloads = self._held.get(WORKLOAD_ENTRY.collection, {})
        self._unconfirmed = {name: entry for name, entry in workloads.items() if REGISTERED_ANNOTATION in entry.metadata.annotations}
        if self.versions:
            log.info("last good configuration restored", collections=len(self.versions), registered_workloads=len(self._unconfirmed))

    def take_touched(self) -> frozenset[ResourceKey]:
        """Objects of revisions (not registered workloads) that came, changed or went since the last call."""
        touched, self._touched = frozenset(self._touched), set()
        return touched

    async def on_change(self, change: Change) -> None:
        """Take a change from Galley."""
        began = time.time_ns()
        first = change.collection not in self._from_galley
        self._from_galley.add(change.collection)
        if change.collection == WORKLOAD_ENTRY.collection and self._unconfirmed:
            change = self._with_unconfirmed(change)
        differs = self._apply(change)
        if not differs and not first:
            return
        self._unwritten.add(change.collection)
        self._dirty.set()
        trigger = TRIGGERS.get(change.collection, "config")
        metrics.INBOUND_UPDATES.add(1, INBOUND[trigger])
        traceparent = change.traceparent if differs and not first else ""  # the first delivery is catching up, whoever caused it
        if traceparent:
            received(traceparent, change.collection, change.version, began)
        self.changed(trigger, traceparent)

    def snapshot(self) -> Mapping[str, Named]:
        """Everything as it is now. Collections that did not change are the same objects as last time."""
        for name, held in self._held.items():
            if name not in self._frozen:
                self._frozen[name] = dict(held)
        return dict(self._frozen)

    async def run(self) -> None:
        """Write the last good set in the background and end the grace, until cancelled; then write what is left."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._keep_last_good(), name="last good configuration")
                group.create_task(self._end_grace(), name="lease grace")
        finally:
            if self._writing is not None:
                await asyncio.wait({self._writing})
            self._write_all(self._take_unwritten())

    def _apply(self, change: Change) -> bool:
        """False when nothing came of it."""
        held = {} if change.full else self._held.setdefault(change.collection, {})
        before = self._held.get(change.collection, {})
        left = before.keys() - {r.key.mcp_name for r in change.upserts} if change.full else before.keys() & set(change.removed)
        differs = bool(left)
        for name in left:
            self._touch(before[name])
            held.pop(name, None)
        for resource in change.upserts:
            name = resource.key.mcp_name
            old = before.get(name)
            if old is not None and _equal(old, resource):
                resource = old  # the same object: whoever indexes by identity keeps its index
            else:
                differs = True
                self._touch(resource)
            held[name] = resource
        self._held[change.collection] = held
        self.versions[change.collection] = change.version
        if differs or change.collection not in self._frozen:
            self._frozen.pop(change.collection, None)
        return differs

    def _touch(self, resource: Resource[Any]) -> None:
        if REGISTERED_ANNOTATION not in resource.metadata.annotations:
            self._touched.add(resource.key)

    # -- grace ----------------------------------------------------------------------------------------------------------------------

    def _with_unconfirmed(self, change: Change) -> Change:
        """Keep registered workloads of which Galley has not heard since it, or Pilot, restarted."""
        for resource in change.upserts:
            self._unconfirmed.pop(resource.key.mcp_name, None)
        kept = tuple(self._unconfirmed.values()) if change.full else ()
        return Change(
            collection=change.collection,
            version=change.version,
            upserts=(*change.upserts, *kept),
            removed=tuple(name for name in change.removed if name not in self._unconfirmed),
            full=change.full,
            traceparent=change.traceparent,
        )

    async def _end_grace(self) -> None:
        await asyncio.sleep(self._grace)
        unconfirmed, self._unconfirmed = self._unconfirmed, {}
        if unconfirmed and WORKLOAD_ENTRY.collection in self._from_galley:
            log.info("registered workloads that did not come back are forgotten", workloads=sorted(unconfirmed))
            version = self.versions[WORKLOAD_ENTRY.collection]
            await self.on_change(Change(collection=WORKLOAD_ENTRY.collection, version=version, removed=tuple(unconfirmed)))

    # -- last good ------------------------------------------------------------------------------------------------------------------

    async def _keep_last_good(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._dirty.wait()
            await asyncio.sleep(AFTERWARDS)
            self._dirty.clear()
            began = loop.time()
            self._writing = asyncio.ensure_future(asyncio.to_thread(self._write_all, self._take_unwritten()))
            await asyncio.shield(self._writing)
            await asyncio.sleep(max(PAUSE, (loop.time() - began) / SHARE_OF_TIME))

    def _take_unwritten(self) -> list[Change]:
        snapshot = self.snapshot()
        names, self._unwritten = sorted(self._unwritten), set()
        return [Change(collection=name, version=self.versions[name], upserts=tuple(snapshot[name].values()), full=True) for name in names]

    def _write_all(self, changes: list[Change]) -> None:
        if self._last_good is None:
            return
        for change in changes:
            try:
                self._last_good.record(change)
            except OSError as error:
                log.error("the last good configuration cannot be written", collection=change.collection, reason=str(error))


def _equal(first: Resource[Any], second: Resource[Any]) -> bool:
    with contextlib.suppress(TypeError):
        return bool(first.metadata == second.metadata and first.spec == second.spec)
    return False
