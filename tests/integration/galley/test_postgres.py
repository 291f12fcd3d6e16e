# SPDX-License-Identifier: Apache-2.0
"""Several Galleys on one PostgreSQL: writers are ordered, and each learns what the others wrote."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from common.database import Writer, create, is_sqlite, migrate
from common.database.notify import listen, notify
from galley.errors import ConflictError
from galley.store.model import Put
from galley.store.schema import metadata
from galley.store.store import Store
from tests.running_galley import running_galley, service, virtual_service
from tests.unit.galley.store import worlds

pytestmark = pytest.mark.postgres


@contextlib.asynccontextmanager
async def opened(url: str) -> AsyncIterator[Store]:
    engine = create(url)
    async with Writer.open(engine, name="galley") as writer:
        await writer.call(lambda: migrate(engine, "galley.store:migrations"))
        store = await Store.open(writer)
        following = asyncio.create_task(store.follow())
        yield store
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)


async def until_revision(store: Store, revision: int) -> None:
    async with asyncio.timeout(5):
        while store.snapshot.revision < revision:
            await asyncio.sleep(0.01)


async def test_the_schema_is_the_same_as_on_sqlite(postgres: str) -> None:
    async with opened(postgres) as store:
        assert not is_sqlite(store.writer.engine)

        def differences() -> list[object]:
            with store.writer.engine.connect() as connection:
                return list(compare_metadata(MigrationContext.configure(connection), metadata))

        assert await store.writer.call(differences) == []


async def test_galleys_that_start_together_migrate_once(postgres: str) -> None:
    async with contextlib.AsyncExitStack() as stack:
        stores = await asyncio.gather(*(stack.enter_async_context(opened(postgres)) for _ in range(3)))
        assert sorted(store.start for store in stores) == [1, 2, 3]


async def test_each_hears_of_the_others_writes(postgres: str) -> None:
    async with opened(postgres) as one, opened(postgres) as two:
        heard: list[int] = []
        two.subscribe(lambda events: heard.extend(e.revision for e in events))
        await one.write([Put(resource=worlds.virtual_service("a")), Put(resource=worlds.service("s"))], actor="x")
        await until_revision(two, 2)
        assert heard == [1, 2]
        assert two.snapshot.get(worlds.virtual_service("a").key) is not None
        assert [e.type for e in two.feed.since(0)] == ["ADDED", "ADDED"]
        await two.write([Put(resource=worlds.virtual_service("b"))], actor="y")
        await until_revision(one, 3)


async def test_writers_race_without_gaps_or_lost_updates(postgres: str) -> None:
    async with contextlib.AsyncExitStack() as stack:
        stores = [await stack.enter_async_context(opened(postgres)) for _ in range(3)]
        writes = [
            store.write([Put(resource=worlds.virtual_service(f"v{n}-{m}"))], actor="x") for n, store in enumerate(stores) for m in range(15)
        ]
        await asyncio.gather(*writes)
        for store in stores:
            await until_revision(store, 45)
            assert [e.revision for e in store.feed.since(0)] == list(range(1, 46))
        first = await stores[0].write([Put(resource=worlds.service("s"))], actor="x")
        assert first[0].stored is not None
        seen = str(first[0].stored.revision)
        changed = worlds.service("s", labels={"a": "b"})
        results = await asyncio.gather(
            *(store.write([Put(resource=changed, expected=seen)], actor="x") for store in stores[1:]),
            stores[0].write([Put(resource=worlds.service("s", labels={"c": "d"}), expected=seen)], actor="x"),
            return_exceptions=True,
        )
        assert sum(isinstance(result, ConflictError) for result in results) == 2, "exactly one of them was first"


async def test_notifications_come_with_the_commit_and_begin_with_a_wake_up(postgres: str) -> None:
    engine = create(postgres)
    async with Writer.open(engine, name="test") as writer:
        payloads = listen(engine, "things")
        assert await asyncio.wait_for(anext(payloads), 5) == "", "whatever happened before may have been missed"

        def rolled_back(connection: object) -> None:
            notify(connection, "things", "never")  # type: ignore[arg-type]
            raise ValueError

        with pytest.raises(ValueError):
            await writer.transaction(rolled_back)
        await writer.transaction(lambda connection: notify(connection, "things", "yes"))
        assert await asyncio.wait_for(anext(payloads), 5) == "yes"
        await payloads.aclose()  # type: ignore[attr-defined]


async def test_two_whole_galleys_share_a_configuration(postgres: str, tmp_path: Path) -> None:
    async with running_galley(tmp_path / "one", database=postgres) as one, running_galley(tmp_path / "two", database=postgres) as two:
        await one.apply(service())
        await two.apply(virtual_service())
        async with two.rest() as client, asyncio.timeout(5):
            while (await client.get("/api/v1/namespaces/default/services/reviews")).status_code != 200:
                await asyncio.sleep(0.02)
        async with one.rest() as client, asyncio.timeout(5):
            path = "/apis/networking.istio.io/v1alpha3/namespaces/default/virtualservices/reviews"
            while (answer := await client.get(path)).status_code != 200:
                await asyncio.sleep(0.02)
        assert answer.json()["metadata"]["resourceVersion"] == "2"
