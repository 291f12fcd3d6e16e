# SPDX-License-Identifier: Apache-2.0
"""The leases of this Galley with a clock, a table and somebody to tell: memory first, so that discovery never waits for the disk.

A crash between the two costs nothing: a lease that should be gone runs out, one that should be there is registered again within a second.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec
import structlog
from sqlalchemy import Connection, delete, insert, select

from common.config.kinds.networking import WORKLOAD_ENTRY, WorkloadEntry
from common.config.resource import Metadata, Resource
from common.database.writer import Writer
from galley import metrics
from galley.store.leases import Leases, Registered, Visible
from galley.store.model import Place
from galley.store.schema import workloads

log = structlog.get_logger("registration")

REGISTERED = "fourmast.io/registered"
"""Annotation of WorkloadEntries that an agent keeps alive; nobody wrote them and no revision holds them."""


class Workloads:
    """What registration writes and distribution reads."""

    def __init__(self, writer: Writer, leases: Leases, *, start: int) -> None:
        self._writer, self.leases, self._start = writer, leases, start
        self._subscribers: list[Callable[[], None]] = []
        self._told = leases.serial
        self._wake = asyncio.Event()

    @classmethod
    async def open(cls, writer: Writer, *, start: int, clock: Callable[[], float] = time.monotonic) -> Workloads:
        """Take up the leases on disk; they run for the grace period. `start` is the store's number of this start."""
        leases = Leases(clock)
        leases.restore(await writer.transaction(_load))
        if leases.known:
            log.info("leases of the run before are kept for a while", workloads=len(leases.known))
        return cls(writer, leases, start=start)

    @property
    def version(self) -> str:
        """Of the visible set; never used again for another one."""
        return f"{self._start}.{self.leases.serial}"

    def resources(self) -> Iterator[Resource[Any]]:
        """Visible workloads as WorkloadEntries."""
        for visible in self.leases.visible.values():
            yield self._resource(visible)

    def get(self, place: Place) -> Resource[Any] | None:
        visible = self.leases.visible.get(place)
        return self._resource(visible) if visible is not None else None

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
                pause = None if deadline is None else max(0.0, deadline - self.leases._clock())
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), pause)
        finally:
            await self._persist()

    async def _persist(self) -> None:
        dirty, self.leases.dirty = self.leases.dirty, set()
        if dirty:
            rows = {place: self.leases.known.get(place) for place in dirty}
            await self._writer.transaction(lambda connection: _save(connection, rows))

    def _resource(self, visible: Visible) -> Resource[Any]:
        workload = visible.workload
        metadata = Metadata(
            name=workload.name,
            namespace=workload.namespace,
            labels=workload.spec.labels,
            annotations={REGISTERED: "true"},
            creationTimestamp=workload.registered_at,
            generation=1,
            resourceVersion=f"{self._start}.{visible.serial}",
            uid=workload.lease,
        )
        return Resource(kind=WORKLOAD_ENTRY, metadata=metadata, spec=workload.spec)


def _load(connection: Connection) -> list[Registered]:
    return [
        Registered(
            namespace=row.namespace,
            name=row.name,
            spec=msgspec.json.decode(row.body, type=WorkloadEntry),
            lease=row.lease,
            healthy=row.healthy,
            registered_at=row.registered_at,
        )
        for row in connection.execute(select(workloads))
    ]


def _save(connection: Connection, rows: Mapping[Place, Registered | None]) -> None:
    for (namespace, name), workload in rows.items():
        connection.execute(delete(workloads).where(workloads.c.namespace == namespace, workloads.c.name == name))
        if workload is not None:
            connection.execute(
                insert(workloads).values(
                    namespace=namespace,
                    name=name,
                    service_account=workload.spec.serviceAccount,
                    lease=workload.lease,
                    healthy=workload.healthy,
                    body=msgspec.json.encode(workload.spec).decode(),
                    registered_at=workload.registered_at,
                )
            )
