# SPDX-License-Identifier: Apache-2.0
"""The leases of this Galley with a clock, a table and somebody to tell: memory first, so that discovery never waits for the disk.

A crash between the two costs nothing: a lease that should be gone runs out, one that should be there is registered again within a second.
On PostgreSQL the table is shared: a workload that registers at one Galley is seen by all, and when a Galley dies the others take its leases.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import structlog
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from common.config.kinds.networking import WORKLOAD_ENTRY
from common.config.resource import Metadata, Resource
from common.database.engine import is_sqlite
from common.database.notify import listen, notify
from common.database.writer import Writer
from galley import metrics
from galley.store import lease_rows
from galley.store.leases import LEASE_SECONDS, Ended, Leases, Registered, Visible
from galley.store.model import Place

log = structlog.get_logger("registration")

CHANNEL = "galley_workloads"
BEAT_SECONDS = 1.0
"""How often a Galley that shares its database says that it lives; after a workload's lease without that, the others take over."""
RESYNC_SECONDS = 10.0
"""A shared table is read again after this long even when nobody said that it changed."""

REGISTERED = "fourmast.io/registered"
"""Annotation of WorkloadEntries that an agent keeps alive; nobody wrote them and no revision holds them."""
PROXY_VERSION = "fourmast.io/proxy-version"
"""Annotation with the version that the agent said, if it said one."""


class Workloads:
    """What registration writes and distribution reads."""

    def __init__(self, writer: Writer, leases: Leases, *, start: int) -> None:
        self._writer, self.leases, self._start = writer, leases, start
        self._shared = not is_sqlite(writer.engine)
        self._made: dict[int, Resource[Any]] = {}  # by the serial, which no other state has
        self._subscribers: list[Callable[[], None]] = []
        self._told = leases.serial
        self._wake = asyncio.Event()
        self._stale = False  # somebody else wrote to the table
        self._read_at = leases.now()
        self._complained = False

    @classmethod
    async def open(cls, writer: Writer, *, start: int, clock: Callable[[], float] = time.monotonic) -> Workloads:
        """Take up the leases on disk, except those that another living Galley minds. `start` is the store's number of this start."""
        leases = Leases(clock)
        if is_sqlite(writer.engine):
            leases.restore(registered for registered, _ in await writer.transaction(lease_rows.load))
        else:
            table = await writer.transaction(lambda connection: _exchange(connection, {}, start)[1])
            leases.observe((registered, holder == start) for registered, holder in table)
        if leases.known:
            log.info("leases of the run before are kept for a while", workloads=len(leases.known))
        return cls(writer, leases, start=start)

    @property
    def version(self) -> str:
        """Of the visible set; never used again for another one."""
        return f"{self._start}.{self.leases.serial}"

    def resources(self) -> Iterator[Resource[Any]]:
        """Visible workloads as WorkloadEntries. One that stays as it is stays the same object, so readers see by identity what is new."""
        visible = self.leases.visible.values()
        self._made = {each.serial: self._made.get(each.serial) or self._resource(each) for each in visible}
        return iter(self._made.values())

    def get(self, place: Place) -> Resource[Any] | None:
        visible = self.leases.visible.get(place)
        return (self._made.get(visible.serial) or self._resource(visible)) if visible is not None else None

    def subscribe(self, subscriber: Callable[[], None]) -> None:
        """Call `subscriber` after each change of the visible set."""
        self._subscribers.append(subscriber)

    def changed(self) -> None:
        """Call after using `leases`: tells subscribers at once, and has the rows written."""
        if self.leases.serial != self._told:
            self._told = self.leases.serial
            metrics.WORKLOADS.set(len(self.leases.visible), "visible")
            for subscriber in self._subscribers:
                subscriber()
        metrics.WORKLOADS.set(len(self.leases.known), "registered")
        if self.leases.dirty:  # a plain heartbeat only moves a deadline away, and nobody needs to wake for that
            self._wake.set()

    async def run(self) -> None:
        """Expire leases on time and keep the table up to date, until cancelled; what is left is written then."""
        try:
            while True:
                for workload in self.leases.expire():
                    log.warning("no heartbeat; the workload leaves the mesh", workload=f"{workload.namespace}/{workload.name}")
                self.changed()
                self._wake.clear()
                await self._persist()
                deadline = self.leases.next_deadline()
                pause = None if deadline is None else max(0.0, deadline - self.leases.now())
                if self._shared or self.leases.dirty:
                    pause = BEAT_SECONDS if pause is None else min(pause, BEAT_SECONDS)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(pause):  # wait_for would lose a cancellation that comes together with the wake
                        await self._wake.wait()
        finally:
            await self._persist()
            if self._shared:
                with contextlib.suppress(DBAPIError):
                    await self._writer.transaction(lambda connection: lease_rows.leave(connection, self._start))

    async def follow(self) -> None:
        """Hear of what other Galleys wrote, for ever. On SQLite there are none, and this returns at once."""
        if not self._shared:
            return
        async with contextlib.aclosing(listen(self._writer.engine, CHANNEL)) as payloads:
            async for payload in payloads:
                if payload != str(self._start):
                    self._stale = True
                    self._wake.set()

    async def _persist(self) -> None:
        """Write what changed here, and read what changed elsewhere. A database that is away changes nothing for discovery."""
        dirty, self.leases.dirty = self.leases.dirty, {}
        rows = {place: ended or self.leases.known[place] for place, ended in dirty.items()}
        try:
            if not self._shared:
                if rows:
                    await self._writer.transaction(lambda connection: lease_rows.save(connection, rows, start=self._start))
            else:
                await self._exchange(rows)
        except DBAPIError as error:
            self.leases.dirty = dirty | self.leases.dirty
            if not self._complained:
                log.error("the database does not take the leases; they are kept in memory", reason=str(error.orig))
            self._complained = True
        else:
            self._complained = False

    async def _exchange(self, rows: Mapping[Place, Registered | Ended]) -> None:
        stale, self._stale = self._stale or self.leases.now() - self._read_at > RESYNC_SECONDS, False
        adopted, table = await self._writer.transaction(
            lambda connection: _exchange(connection, rows, self._start, read=stale or bool(rows))
        )
        if adopted:
            log.warning("leases of a Galley that gave no sign of life are minded here now")
        if adopted or stale or rows:
            self._read_at = self.leases.now()
            self.leases.observe((registered, holder == self._start) for registered, holder in table)
            self.changed()

    def _resource(self, visible: Visible) -> Resource[Any]:
        workload = visible.workload
        metadata = Metadata(
            name=workload.name,
            namespace=workload.namespace,
            labels=workload.spec.labels,
            annotations={REGISTERED: "true"} | ({PROXY_VERSION: workload.proxy_version} if workload.proxy_version else {}),
            creationTimestamp=workload.registered_at,
            generation=1,
            resourceVersion=f"{self._start}.{visible.serial}",
            uid=workload.lease,
        )
        return Resource(kind=WORKLOAD_ENTRY, metadata=metadata, spec=workload.spec)


def _exchange(
    connection: Connection, rows: Mapping[Place, Registered | Ended], start: int, *, read: bool = True
) -> tuple[bool, list[lease_rows.Row]]:
    """In one transaction: live, take over from the dead, write, tell the others, and read everything if something may have changed."""
    adopted = lease_rows.live(connection, start, seconds=LEASE_SECONDS)
    lease_rows.save(connection, rows, start=start)
    if adopted or rows:
        notify(connection, CHANNEL, str(start))
    return adopted, lease_rows.load(connection) if adopted or read else []
