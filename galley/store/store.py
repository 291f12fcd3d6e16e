# SPDX-License-Identifier: Apache-2.0
"""The store: one transaction for each write, then the new snapshot is everybody's.

A write takes the database's lock, learns what other Galleys wrote meanwhile, plans on that and appends. With SQLite there is nobody else, so
the same lines cost nothing; with PostgreSQL an advisory lock orders the writers, and revisions have no gaps that a reader could fall into.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import datetime
import uuid
from collections.abc import Callable, Sequence
from types import MappingProxyType

import structlog
from sqlalchemy import Connection, insert
from sqlalchemy.exc import DBAPIError

from common.database.engine import is_sqlite
from common.database.notify import listen, notify
from common.database.writer import Writer
from common.telemetry.tracing import tracer
from galley.errors import NotFoundError, UnavailableError
from galley.store import rows
from galley.store.feed import KEPT, Feed
from galley.store.model import Collection, Event, Intent, Outcome, Place, Snapshot, Stored
from galley.store.plan import Plan
from galley.store.rollback import restoring_intents
from galley.store.schema import starts

log = structlog.get_logger("store")

MIGRATIONS = "galley.store:migrations"
CHANNEL = "galley_revisions"
_WRITE_LOCK = 0x47616C6C6579  # "Galley"

Subscriber = Callable[[Sequence[Event]], None]


def utc_now() -> str:
    """RFC 3339 in UTC with seconds, as Kubernetes writes times."""
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Store:
    """Make it by `Store.open`. Everything but `write` and `history` answers from memory."""

    def __init__(self, writer: Writer, snapshot: Snapshot, feed: Feed, *, start: int) -> None:
        self._writer = writer
        self._snapshot = snapshot  # what readers in the event loop see
        self._newest = snapshot  # what the writer's thread has committed; ahead of the other for a moment
        self.feed = feed
        self.start = start
        """Number of this start of Galley, never used before: makes versions of what is not in revisions unique."""
        self.owners: set[str] = set()
        """Sources that run now; what they wrote only they may change."""
        self._subscribers: list[Subscriber] = []
        self._loop = asyncio.get_running_loop()
        self.closed = False

    @classmethod
    async def open(cls, writer: Writer) -> Store:
        """Load everything. The schema must be at its newest version."""

        def load(connection: Connection) -> tuple[Snapshot, list[Event], int]:
            revision, objects = rows.load_all(connection)
            newest = rows.newest_of_collections(connection)
            events = rows.newest_events(connection, KEPT)
            start = connection.execute(insert(starts).values(at=utc_now())).inserted_primary_key
            return _snapshot(revision, objects, newest), events, int(start[0]) if start else 0

        snapshot, events, start = await writer.transaction(load)
        before = events[0].revision - 1 if len(events) == KEPT else 0
        log.info("store loaded", revision=snapshot.revision, objects=sum(1 for _ in snapshot), start=start)
        return cls(writer, snapshot, Feed(events, before=before, newest=snapshot.revision), start=start)

    @property
    def snapshot(self) -> Snapshot:
        return self._snapshot

    @property
    def writer(self) -> Writer:
        return self._writer

    def subscribe(self, subscriber: Subscriber) -> Callable[[], None]:
        """Call `subscriber` in the event loop after each change, when `snapshot` already shows it. Returns the function that ends it."""
        self._subscribers.append(subscriber)
        return lambda: self._subscribers.remove(subscriber)

    async def write(self, intents: Sequence[Intent], *, actor: str, traceparent: str = "", dry_run: bool = False) -> tuple[Outcome, ...]:
        """Do all intents or none. Raises a GalleyError for the first that cannot be done; then nothing has changed."""
        if self.closed:
            raise UnavailableError("this Galley is handing over; try again")

        def work(connection: Connection) -> Plan:
            self._catch_up(connection)
            plan = Plan(
                self._newest,
                now=utc_now(),
                actor=actor,
                traceparent=traceparent,
                new_uid=lambda: str(uuid.uuid4()),
                owners=frozenset(self.owners),
            ).add(intents)
            if not dry_run and plan.events:
                rows.write(connection, plan.events)
                notify(connection, CHANNEL, str(plan.snapshot.revision))
            return plan

        def run() -> Plan:
            with self._writer.engine.begin() as connection:
                plan = work(connection)
            if not dry_run:
                self._committed(plan.snapshot, plan.events)
            return plan

        with tracer("galley").start_as_current_span("galley.store") as span:
            try:
                plan = await self._writer.call(run)
            except DBAPIError as error:
                log.error("the database does not take a write", reason=str(error.orig).strip())
                raise UnavailableError(
                    f"the database does not take writes now ({str(error.orig).strip()}); what is stored is served"
                ) from error
            span.set_attribute("revision", plan.snapshot.revision)
        return tuple(plan.outcomes)

    async def history(self, *, collection: str = "", namespace: str = "", name: str = "", limit: int = 100) -> list[Event]:
        """Past revisions, newest first; empty strings mean any."""
        return await self._writer.transaction(
            lambda connection: rows.history(connection, collection=collection, namespace=namespace, name=name, limit=limit)
        )

    async def revision(self, number: int) -> Event:
        """What one revision did, with the object as it was after it. Raises NotFoundError for a number that no revision has."""
        event = await self._writer.transaction(lambda connection: rows.event_at(connection, number))
        if event is None:
            raise NotFoundError(f"there is no revision {number}; the newest is {self._snapshot.revision}")
        return event

    async def restoring(self, revision: int, *, collection: str = "", namespace: str = "", name: str = "") -> list[Intent]:
        """Intents that bring objects back to how they were after `revision` (0: before everything); empty strings mean any.

        Hand them to `write` once the caller was found entitled to each: they expect the present versions, so whoever writes in between
        makes that a conflict. What did not change since then is not in the list, and what did not exist then is deleted.
        """

        def work(connection: Connection) -> list[Intent]:
            self._catch_up(connection)
            if not 0 <= revision <= self._newest.revision:
                raise NotFoundError(f"there is no revision {revision}; the newest is {self._newest.revision}")
            before = rows.changed_since(connection, revision, collection=collection, namespace=namespace, name=name)
            return list(restoring_intents(self._newest, before))

        return await self._writer.transaction(work)

    async def rollback(
        self,
        revision: int,
        *,
        actor: str,
        collection: str = "",
        namespace: str = "",
        name: str = "",
        traceparent: str = "",
        dry_run: bool = False,
    ) -> tuple[Outcome, ...]:
        """`restoring`, then `write`: history only grows, so a rollback is itself a revision that can be rolled back."""
        intents = await self.restoring(revision, collection=collection, namespace=namespace, name=name)
        return await self.write(intents, actor=actor, traceparent=traceparent, dry_run=dry_run)

    async def follow(self) -> None:
        """Learn of other Galleys' writes for ever (PostgreSQL). On SQLite there are none, and this returns at once."""
        if is_sqlite(self._writer.engine):
            return
        async with contextlib.aclosing(listen(self._writer.engine, CHANNEL)) as payloads:
            async for _ in payloads:
                try:
                    await self._writer.transaction(self._catch_up)
                except DBAPIError as error:  # the listener notices too, and its first word after it is back brings us here again
                    log.warning("the database is away; reads go on from memory", reason=str(error.orig).strip())

    def _catch_up(self, connection: Connection) -> None:
        """In the writer's thread: take the write lock and what others committed since."""
        if is_sqlite(self._writer.engine):
            return
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_WRITE_LOCK})")
        newest = rows.newest_revision(connection)
        if newest > self._newest.revision:
            events = rows.events_after(connection, self._newest.revision)
            self._committed(dataclasses.replace(self._newest.after(events), revision=newest), events)

    def _committed(self, snapshot: Snapshot, events: Sequence[Event]) -> None:
        """In the writer's thread, once the events are certain."""
        self._newest = snapshot
        self._loop.call_soon_threadsafe(self._show, snapshot, events)

    def _show(self, snapshot: Snapshot, events: Sequence[Event]) -> None:
        if snapshot.revision == self._snapshot.revision:
            return
        self._snapshot = snapshot
        self.feed.append(events, snapshot.revision)
        for subscriber in tuple(self._subscribers):
            try:
                subscriber(events)
            except Exception:
                log.exception("a reader of the store failed", revision=snapshot.revision)


def _snapshot(revision: int, objects: Sequence[Stored], newest: dict[str, tuple[int, str]]) -> Snapshot:
    by_collection: dict[str, dict[Place, Stored]] = {name: {} for name in newest}
    for stored in objects:
        key = stored.key
        by_collection.setdefault(key.collection, {})[(key.namespace, key.name)] = stored
    collections = {
        name: Collection(newest.get(name, (revision, ""))[0], MappingProxyType(found), newest.get(name, (0, ""))[1])
        for name, found in by_collection.items()
    }
    return Snapshot(revision, MappingProxyType(collections))
