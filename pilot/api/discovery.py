# SPDX-License-Identifier: Apache-2.0
"""From a change of configuration to every proxy: collect, build in a worker thread, publish.

Building and generating never hold up the event loop: the whole epoch, with all views that connected proxies need, is made before anybody
hears of it. An error keeps the epoch before, because half a snapshot is worse than an old one.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any

import structlog

from common.config.resource import Resource, ResourceKey
from pilot import metrics
from pilot.api.connection import Connection
from pilot.api.memory import keep_heap
from pilot.api.propagation import Propagation
from pilot.api.rest import Rest
from pilot.model.proxy import Proxy
from pilot.model.push import PushContext
from pilot.xds.cache import Epoch
from pilot.xds.generator import Generator
from pilot.xds.names import NameSets
from pilot.xds.queue import INTERVAL, NEVER, Changes

log = structlog.get_logger("ads")

SLICE = 64  # streams offered a snapshot before other work of the loop gets its turn
MOST_DELETED = 10_000  # objects that are gone but still remembered
GARBAGE = (10_000, 10, 10)
"""Thresholds of Python's garbage collector. With its own (700, 10, 10) it walked a thousand proxies' state, 150 ms, every few changes."""
STRAGGLERS = 0.05  # share of proxies that may be behind when Pilot rests
SWEEP = 1.0  # seconds between looks at slow writes

Collections = Mapping[str, Mapping[str, Resource[Any]]]
BuildPush = Callable[[Collections, PushContext | None], PushContext]
Wanted = list[tuple[Proxy, str, frozenset[str] | None]]


class Discovery:
    """The newest epoch, the connected proxies, and the loop that brings the one to the others."""

    def __init__(
        self,
        generator: Generator[PushContext, Proxy],
        *,
        build_push: BuildPush = PushContext.build,
        interval: float = INTERVAL,
        quiet: float = 0.0,
        longest: float = 10.0,
        write_timeout: float = 30.0,
        check: bool = False,
    ) -> None:
        """`check` rebuilds every reused resource and compares (tests, and hunting a fingerprint that misses something)."""
        self.epoch: Epoch[PushContext, Proxy] | None = None
        self.connections: dict[str, Connection] = {}
        self.sets = NameSets()
        self.interval = interval
        self._generator, self._build_push, self._check = generator, build_push, check
        self._write_timeout = write_timeout
        self._changes = Changes(interval=interval, quiet=quiet, longest=longest)
        self._collections: Callable[[], Collections] = dict
        self._arrived = asyncio.Event()
        self._published = asyncio.Event()
        self._traces: list[str] = []
        self._touched: set[ResourceKey] = set()
        self._since: dict[ResourceKey, int] = {}
        self._most_remembered = MOST_DELETED
        self.propagation = Propagation()
        self.published: Callable[[Collection[ResourceKey]], None] = lambda touched: None
        """Called with the objects that changed in an epoch when it has been offered to all proxies."""
        self._rest = Rest(self._forget_responses)
        self._triggers: set[str] = set()
        self._numbers = itertools.count(1)
        self._versions = itertools.count(1)

    # -- proxies --------------------------------------------------------------------------------------------------------------------

    def connection_id(self, proxy_id: str) -> str:
        return f"{proxy_id}-{next(self._numbers)}"

    def connect(self, connection: Connection) -> None:
        """From now on it is offered every snapshot."""
        self.connections[connection.id] = connection
        self._rest.disturbed(asyncio.get_running_loop().time(), proxies=1)
        metrics.PROXIES.set(len(self.connections))
        if self.epoch is not None and connection.stream.epoch is not self.epoch:
            connection.offer(self.epoch)

    def disconnect(self, connection: Connection) -> None:
        if self.connections.pop(connection.id, None) is not None:
            connection.close()
            self._rest.disturbed(asyncio.get_running_loop().time(), proxies=1)
            metrics.PROXIES.set(len(self.connections))

    # -- snapshots ------------------------------------------------------------------------------------------------------------------

    def changed(
        self,
        collections: Callable[[], Collections],
        *,
        trigger: str = "config",
        traceparent: str = "",
        touched: Collection[ResourceKey] = (),
    ) -> None:
        """Configuration changed; `collections` gives all of it, unchangeable, when the build begins. `touched` are the objects."""
        self._collections = collections
        self._triggers.add(trigger)
        if traceparent:
            self._traces.append(traceparent)
        self._touched.update(touched)
        self._changes.arrived(asyncio.get_running_loop().time())
        self._arrived.set()

    async def until_published(self) -> None:
        """Wait for the first epoch."""
        await self._published.wait()

    def version_of(self, key: ResourceKey) -> str | None:
        """resourceVersion of an object in the newest snapshot; None when it is not there."""
        if self.epoch is None:
            return None
        resource = self.epoch.push.resources.get(key.collection, {}).get(key.mcp_name)
        return resource.metadata.resourceVersion if resource is not None else None

    def since(self, key: ResourceKey) -> int:
        """The first epoch that holds the object as it is in the newest."""
        return self._since.get(key, 1)

    async def run(self) -> None:
        """Build and publish until cancelled."""
        keep_heap()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._sweep(), name="cut slow proxies, rest")
            group.create_task(self._build_and_publish(), name="snapshots")
            group.create_task(self.propagation.run(), name="spans of proxies")

    async def _build_and_publish(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            self._arrived.clear()
            due = self._changes.due()
            if due > loop.time():
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout_at(due if due < NEVER else None):
                        await self._arrived.wait()
                continue
            created = self._changes.begin(loop.time())
            triggers, self._triggers = self._triggers, set()
            traces, self._traces = self._traces, []
            touched, self._touched = self._touched, set()
            number = self.epoch.number + 1 if self.epoch is not None else 1
            self._since.update(dict.fromkeys(touched, number))  # holds even if this build fails: the next one has the number then
            try:
                await self._once(created, triggers, traces, touched)
            except Exception:
                metrics.CONTEXT_ERRORS.add()
                log.exception("the snapshot cannot be built; proxies keep the one before")
            finally:
                self._changes.done()

    async def _once(self, created: float, triggers: set[str], traces: list[str], touched: Collection[ResourceKey]) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        began_ns = time.time_ns()
        epoch = await asyncio.to_thread(self._build, self._collections(), self.epoch, created, self._wanted())
        built, built_ns = loop.time(), time.time_ns()
        first = self.epoch is None
        self.epoch = epoch
        offered = self.propagation.offering(epoch.number, touched, traces, began=began_ns, built=built_ns)
        await self._publish(epoch)
        offered(len(self.connections))
        self._rest.disturbed(loop.time())
        self.published(touched)
        if len(self._since) > self._most_remembered:
            self._since = {key: number for key, number in self._since.items() if self.version_of(key) is not None}
            self._most_remembered = MOST_DELETED + 2 * len(self._since)
        metrics.CONTEXT_TIME.observe(built - began)
        metrics.QUEUE_TIME.observe(built - created)
        for trigger in triggers:
            metrics.PUSH_TRIGGERS.add(1, trigger)
        log.debug("snapshot published", epoch=epoch.number, proxies=len(self.connections), build_ms=round((built - began) * 1e3, 1))
        if first:
            self._published.set()
            gc.collect()
            gc.freeze()  # the model lives long: full collections would walk it again and again while proxies wait
            gc.set_threshold(*GARBAGE)

    def _wanted(self) -> Wanted:
        return [
            (connection.stream.proxy, type_url, names)
            for connection in self.connections.values()
            for type_url, names in connection.stream.wanted()
        ]

    def _build(
        self, collections: Collections, previous: Epoch[PushContext, Proxy] | None, created: float, wanted: Wanted
    ) -> Epoch[PushContext, Proxy]:
        push = self._build_push(collections, previous.push if previous is not None else None)
        epoch = Epoch(
            push,
            self._generator,
            version=f"{next(self._versions)}",
            previous=previous,
            created=created,
            check=self._check,
            on_error=self._generation_failed,
        )
        gc.disable()  # a large build would be interrupted by walks over everything, each 0.1 s in which nobody is served
        try:
            epoch.prepare(wanted)
        finally:
            gc.enable()
        return epoch

    @staticmethod
    def _generation_failed(key: object, error: Exception) -> None:
        metrics.INTERNAL_ERRORS.add()
        log.error("a group of resources cannot be generated; it stays as it was", group=str(key), exc_info=error)

    async def _publish(self, epoch: Epoch[PushContext, Proxy]) -> None:
        for count, connection in enumerate(list(self.connections.values()), 1):
            if connection.id in self.connections:
                try:
                    connection.offer(epoch)
                except Exception:  # one stream's fault must not keep the others from the news
                    metrics.INTERNAL_ERRORS.add()
                    log.exception("a stream failed and is cut", connection=connection.id)
                    connection.abort()
            if count % SLICE == 0:
                await asyncio.sleep(0)

    def _forget_responses(self) -> None:
        if self.epoch is not None:
            self.epoch.forget_responses()

    async def _sweep(self) -> None:
        """Cut proxies that do not take what is written to them; rest when there is nothing else to do."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(SWEEP)
            latest = loop.time() - self._write_timeout
            for connection in list(self.connections.values()):
                if connection.writing_since is not None and connection.writing_since < latest:
                    metrics.WRITE_TIMEOUT.add()
                    log.warning("a proxy does not take its response and is cut off", connection=connection.id)
                    connection.abort()
            if self._is_serving():
                self._rest.disturbed(loop.time())
            await self._rest.look(loop.time())

    def _is_serving(self) -> bool:
        """Whether more than a few stragglers are still on their way to the newest snapshot."""
        epoch = self.epoch
        behind = sum(connection.stream.converged < epoch.number for connection in self.connections.values()) if epoch is not None else 0
        return behind > len(self.connections) * STRAGGLERS
