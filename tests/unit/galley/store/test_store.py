# SPDX-License-Identifier: Apache-2.0
"""The store on a real SQLite file: what is written is there after a restart, and readers see whole transactions only."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from common.config.resource import encode
from galley.errors import ConflictError, ExpiredError, UnavailableError
from galley.store import rows
from galley.store.feed import Feed
from galley.store.model import Delete, Event, Origin, Put
from galley.store.schema import metadata
from tests.unit.galley.store.worlds import opened, service, virtual_service


async def test_everything_survives_a_restart(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await store.write([Put(resource=virtual_service(), origin=Origin(file="a.yaml", line=3)), Put(resource=service())], actor="alice")
        await store.write([Put(resource=virtual_service(host="other"))], actor="bob", traceparent="00-x")
        await store.write([Delete(key=service().key)], actor="bob")
        before, start = store.snapshot, store.start
    async with opened(tmp_path) as store:
        assert store.start == start + 1
        assert store.snapshot.revision == before.revision == 4
        assert {s.key: s.body for s in store.snapshot} == {s.key: s.body for s in before}
        assert store.snapshot.collection(service().kind.collection).revision == 4, "the deletion still counts"
        stored = store.snapshot.get(virtual_service().key)
        assert stored is not None
        assert (stored.traceparent, stored.revision, encode(stored.resource)) == ("00-x", 3, stored.body)
        assert [e.type for e in store.feed.since(0)] == ["ADDED", "ADDED", "MODIFIED", "DELETED"]
        (outcome,) = await store.write([Put(resource=service())], actor="carol")
        assert outcome.stored is not None
        assert outcome.stored.revision == 5, "revisions are never used again"


async def test_a_write_is_visible_when_it_returns_and_subscribers_hear_it_then(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        heard: list[tuple[int, list[int]]] = []

        def hear(events: Sequence[Event]) -> None:
            heard.append((store.snapshot.revision, [e.revision for e in events]))

        forget = store.subscribe(hear)
        await store.write([Put(resource=virtual_service("a")), Put(resource=virtual_service("b"))], actor="x")
        assert heard == [(2, [1, 2])]
        assert store.snapshot.get(virtual_service("b").key) is not None
        await store.write([Put(resource=virtual_service("a"))], actor="x")
        assert len(heard) == 1, "nothing changed, nothing is said"
        forget()
        await store.write([Put(resource=virtual_service("c"))], actor="x")
        assert len(heard) == 1


async def test_a_failing_subscriber_harms_nobody(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        heard: list[int] = []
        store.subscribe(lambda events: 1 / 0)  # type: ignore[arg-type]
        store.subscribe(lambda events: heard.append(len(events)))
        await store.write([Put(resource=virtual_service())], actor="x")
        assert heard == [1]


async def test_all_or_nothing(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        with pytest.raises(ConflictError):
            await store.write([Put(resource=virtual_service()), Put(resource=service(), expected="3")], actor="x")
        assert (store.snapshot.revision, await store.history()) == (0, [])


async def test_a_dry_run_says_what_would_happen(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        (outcome,) = await store.write([Put(resource=virtual_service())], actor="x", dry_run=True)
        assert outcome.action == "created"
        assert (store.snapshot.revision, await store.history()) == (0, [])


async def test_writers_at_the_same_time_lose_nothing(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await asyncio.gather(*(store.write([Put(resource=virtual_service(f"v{n}"))], actor="x") for n in range(30)))
        results = await asyncio.gather(
            *(store.write([Put(resource=virtual_service(host=f"h{n}"), expected="0" if n else "")], actor="x") for n in range(5)),
            return_exceptions=True,
        )
        assert store.snapshot.revision == 31
        assert len({s.revision for s in store.snapshot}) == 31
        assert sum(isinstance(result, ConflictError) for result in results) == 4


async def test_history_is_kept_and_can_be_narrowed(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        for host in ("a", "b", "c"):
            await store.write([Put(resource=virtual_service(host=host))], actor="alice")
        await store.write([Put(resource=service())], actor="bob")
        events = await store.history(name="reviews", collection=virtual_service().kind.collection, limit=2)
        assert [(e.revision, e.stored.resource.spec.hosts, e.actor) for e in events] == [(3, ("c",), "alice"), (2, ("b",), "alice")]
        assert len(await store.history()) == 4


async def test_a_closed_store_sends_writers_away(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        store.closed = True
        with pytest.raises(UnavailableError, match="handing over"):
            await store.write([Put(resource=virtual_service())], actor="x")


async def test_an_object_of_another_version_is_left_alone(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await store.write([Put(resource=virtual_service()), Put(resource=service())], actor="x")
        await store.writer.transaction(
            lambda c: c.exec_driver_sql("UPDATE resources SET body = replace(body, 'VirtualService', 'FutureService')")
        )
    async with opened(tmp_path) as store:
        assert [s.resource.kind.name for s in store.snapshot] == ["Service"]
        await store.write([Put(resource=virtual_service("next"))], actor="x")
        assert store.snapshot.revision == 3
        count = await store.writer.transaction(lambda c: c.exec_driver_sql("SELECT count(*) FROM resources").scalar())
        assert count == 3


async def test_migrations_make_what_the_schema_says(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:

        def differences() -> list[object]:
            with store.writer.engine.connect() as connection:
                return list(compare_metadata(MigrationContext.configure(connection), metadata))

        assert await store.writer.call(differences) == []


class TestFeed:
    async def events(self, folder: Path, count: int) -> list[Event]:
        async with opened(folder) as store:
            for n in range(count):
                await store.write([Put(resource=virtual_service(host=f"h{n}"))], actor="x")
            return await store.writer.transaction(lambda c: rows.newest_events(c, count))

    async def test_what_is_no_longer_kept_must_be_listed_again(self, tmp_path: Path) -> None:
        events = await self.events(tmp_path, 8)
        feed = Feed(kept=4)
        woken = feed.next_append()
        for event in events:
            feed.append([event], event.revision)
        assert woken.is_set()
        assert [e.revision for e in feed.since(5)] == [6, 7, 8]
        assert feed.since(8) == []
        for revision in (1, 9):
            with pytest.raises(ExpiredError, match="list again"):
                feed.since(revision)


async def test_a_full_disk_refuses_writes_and_goes_on_serving(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await store.write([Put(resource=virtual_service())], actor="x")
        pages = await store.writer.transaction(lambda c: c.exec_driver_sql("PRAGMA page_count").scalar())
        await store.writer.transaction(lambda c: c.exec_driver_sql(f"PRAGMA max_page_count = {pages}"))
        many = [Put(resource=virtual_service(f"v{n}", annotations={"a": "x" * 4000})) for n in range(50)]
        with pytest.raises(UnavailableError, match=r"does not take writes now \(database or disk is full\); what is stored is served"):
            await store.write(many, actor="x")
        assert [s.key.name for s in store.snapshot] == ["reviews"]
        await store.writer.transaction(lambda c: c.exec_driver_sql("PRAGMA max_page_count = 100000"))
        await store.write(many, actor="x")
        assert store.snapshot.revision == 51
