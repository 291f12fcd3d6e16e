# SPDX-License-Identifier: Apache-2.0
"""Reports from Pilot and Mixer, newest for each (resource, type, reporter): in memory for readers, in their own table for the next start."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Literal

import structlog
from sqlalchemy import Connection, delete, insert, select
from sqlalchemy.exc import DBAPIError

from common.config.resource import ResourceKey
from common.database.engine import is_sqlite
from common.database.notify import listen, notify
from common.database.writer import Writer
from galley.store.model import Event, Snapshot
from galley.store.schema import reports

log = structlog.get_logger("status")

CHANNEL = "galley_reports"

Verdict = Literal["True", "False", "Unknown"]
Subject = tuple[str, str]
"""(collection, MCP name)."""
Slot = tuple[str, str]
"""(type, reporter)."""

LONGEST_MESSAGE = 4096  # characters; Envoy's refusals can quote whole messages
MOST_SLOTS = 256  # reports kept for one resource
WRITE_PAUSE = 0.2  # seconds in which reports gather before they are written


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """One condition that somebody observed. `at` is when its verdict last changed."""

    collection: str
    name: str
    type: str
    reporter: str
    resource_version: str
    verdict: Verdict
    reason: str
    message: str
    at: str

    @property
    def subject(self) -> Subject:
        return (self.collection, self.name)

    @property
    def slot(self) -> Slot:
        return (self.type, self.reporter)


class Reports:
    """All reports. `take` and `of` never wait; `run` writes."""

    def __init__(self, writer: Writer, known: Iterable[Report] = ()) -> None:
        self._writer = writer
        self._token = secrets.token_hex(8)  # tells our own notifications from those of other Galleys
        self._reports: dict[Subject, dict[Slot, Report]] = {}
        self._dirty: set[tuple[Subject, Slot]] = set()
        self._wake = asyncio.Event()
        for report in known:
            self._reports.setdefault(report.subject, {})[report.slot] = report

    @classmethod
    async def open(cls, writer: Writer, snapshot: Snapshot) -> Reports:
        """Load, and forget reports about objects that are no more."""
        loaded = cls(writer, await writer.transaction(_load))
        present = {(stored.key.collection, stored.key.mcp_name) for stored in snapshot}
        for subject in [s for s in loaded._reports if s not in present]:
            loaded._forget(subject)
        return loaded

    def of(self, key: ResourceKey) -> tuple[Report, ...]:
        """Reports about one resource, whatever version they saw."""
        found = self._reports.get((key.collection, key.mcp_name), {})
        return tuple(found[slot] for slot in sorted(found))

    def take(self, report: Report) -> None:
        """Keep a report in place of the one before it; an equal verdict keeps its time."""
        slots = self._reports.setdefault(report.subject, {})
        before = slots.get(report.slot)
        if before is None and len(slots) >= MOST_SLOTS:
            log.warning("too many reports about one resource; a new one is dropped", name=report.name, reporter=report.reporter)
            return
        if before is not None and before.verdict == report.verdict:
            report = replace(report, at=before.at)
        if report != before:
            slots[report.slot] = report
            self._dirty.add((report.subject, report.slot))
            self._wake.set()

    def on_events(self, events: Sequence[Event]) -> None:
        """Subscribe this to the store: reports end with their resource."""
        for event in events:
            if event.type == "DELETED":
                self._forget((event.stored.key.collection, event.stored.key.mcp_name))

    async def run(self) -> None:
        """Write what changed, until cancelled; what is left is written then."""
        try:
            while True:
                await self._wake.wait()
                await asyncio.sleep(WRITE_PAUSE)
                self._wake.clear()
                await self._persist()
        finally:
            await self._persist()

    async def follow(self) -> None:
        """Hear of what was reported to other Galleys on the same PostgreSQL, for ever. On SQLite there are none, and this returns at once."""
        if is_sqlite(self._writer.engine):
            return
        async with contextlib.aclosing(listen(self._writer.engine, CHANNEL)) as payloads:
            async for payload in payloads:
                if payload != self._token:
                    with contextlib.suppress(DBAPIError):  # the listener notices too, and its first word after it is back brings us here
                        self._merge(await self._writer.transaction(_load))

    def _merge(self, table: Iterable[Report]) -> None:
        """Take over what the table says, but for what we have still to write ourselves."""
        merged: dict[Subject, dict[Slot, Report]] = {}
        for report in table:
            if (report.subject, report.slot) not in self._dirty:
                merged.setdefault(report.subject, {})[report.slot] = report
        for subject, slot in self._dirty:
            if (own := self._reports.get(subject, {}).get(slot)) is not None:
                merged.setdefault(subject, {})[slot] = own
        self._reports = merged

    def _forget(self, subject: Subject) -> None:
        for slot in self._reports.pop(subject, {}):
            self._dirty.add((subject, slot))
        self._wake.set()

    async def _persist(self) -> None:
        dirty, self._dirty = self._dirty, set()
        if dirty:
            rows = {place: self._reports.get(place[0], {}).get(place[1]) for place in dirty}

            def save(connection: Connection) -> None:
                _save(connection, rows)
                notify(connection, CHANNEL, self._token)

            try:
                await self._writer.transaction(save)
            except DBAPIError as error:
                self._dirty |= dirty
                log.error("the database does not take the reports; they are kept in memory", reason=str(error.orig).strip())


def _load(connection: Connection) -> list[Report]:
    return [Report(**row) for row in connection.execute(select(reports)).mappings()]


def _save(connection: Connection, rows: dict[tuple[Subject, Slot], Report | None]) -> None:
    column = reports.c
    for ((collection, name), (type_, reporter)), report in rows.items():
        connection.execute(
            delete(reports).where(column.collection == collection, column.name == name, column.type == type_, column.reporter == reporter)
        )
        if report is not None:
            connection.execute(insert(reports).values(**asdict(report)))
