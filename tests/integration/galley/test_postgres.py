# SPDX-License-Identifier: Apache-2.0
"""Several Galleys on one PostgreSQL: writers are ordered, and each learns what the others wrote."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from common.config.kinds.networking import WorkloadEntry
from common.config.resource import ResourceKey
from common.database import Writer, create, is_sqlite, migrate
from common.database.notify import listen, notify
from common.registration import StatusReporter, Verdict, Workload, registration
from galley.errors import ConflictError, UnavailableError
from galley.store.leases import LEASE_SECONDS, HeldByAnotherError, Registered
from galley.store.model import Put
from galley.store.schema import metadata
from galley.store.store import Store
from galley.store.workloads import BEAT_SECONDS, Workloads
from tests.running_citadel import identity_of, part_identity
from tests.running_galley import authority, running_galley, service, virtual_service
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
    async with asyncio.timeout(15):
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
        assert await asyncio.wait_for(anext(payloads), 15) == "", "whatever happened before may have been missed"

        def rolled_back(connection: object) -> None:
            notify(connection, "things", "never")  # type: ignore[arg-type]
            raise ValueError

        with pytest.raises(ValueError):
            await writer.transaction(rolled_back)
        await writer.transaction(lambda connection: notify(connection, "things", "yes"))
        assert await asyncio.wait_for(anext(payloads), 15) == "yes"
        await payloads.aclose()


async def test_two_whole_galleys_share_a_configuration(postgres: str, tmp_path: Path) -> None:
    async with running_galley(tmp_path / "one", database=postgres) as one, running_galley(tmp_path / "two", database=postgres) as two:
        await one.apply(service())
        await two.apply(virtual_service())
        async with two.rest() as client, asyncio.timeout(15):
            while (await client.get("/api/v1/namespaces/default/services/reviews")).status_code != 200:
                await asyncio.sleep(0.02)
        async with one.rest() as client, asyncio.timeout(15):
            path = "/apis/networking.istio.io/v1alpha3/namespaces/default/virtualservices/reviews"
            while (answer := await client.get(path)).status_code != 200:
                await asyncio.sleep(0.02)
        assert answer.json()["metadata"]["resourceVersion"] == "2"


class TestSharedLeases:
    """Workloads that register at one Galley are everybody's, and outlive it."""

    @contextlib.asynccontextmanager
    async def galley(self, url: str) -> AsyncIterator[Workloads]:
        async with opened(url) as store:
            workloads = await Workloads.open(store.writer, start=store.start)
            tasks = [asyncio.create_task(work) for work in (workloads.run(), workloads.follow())]
            try:
                yield workloads
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    async def until(self, seen: Callable[[], bool], seconds: float = 15.0) -> None:
        async with asyncio.timeout(seconds):
            while not seen():
                await asyncio.sleep(0.01)

    def register(self, workloads: Workloads, name: str = "w", account: str = "reviews") -> Registered:
        spec = WorkloadEntry(address="10.0.0.1", serviceAccount=account)
        registered = workloads.leases.register(namespace="default", name=name, spec=spec, healthy=True, at="then")
        workloads.changed()
        return registered

    async def test_all_see_what_registers_changes_and_leaves_at_one(self, postgres: str) -> None:
        async with self.galley(postgres) as one, self.galley(postgres) as two, self.galley(postgres) as three:
            heard: list[str] = []
            three.subscribe(lambda: heard.append(three.version))
            lease = self.register(one).lease
            await self.until(lambda: all(w.get(("default", "w")) is not None for w in (two, three)))
            one.leases.heartbeat(lease, healthy=False)
            one.changed()
            await self.until(lambda: not two.leases.visible and not three.leases.visible)
            one.leases.heartbeat(lease, healthy=True)
            one.changed()
            await self.until(lambda: bool(two.leases.visible and three.leases.visible))
            one.leases.deregister(lease)
            one.changed()
            await self.until(lambda: not two.leases.known and not three.leases.known)
            assert len(set(heard)) == 4, "each change had a version of its own"
            with pytest.raises(HeldByAnotherError):
                self.register(one, "x", "owner")
                await self.until(lambda: bool(two.leases.known))
                self.register(two, "x", "thief")

    async def test_a_heartbeat_at_another_galley_moves_the_lease(self, postgres: str) -> None:
        async with self.galley(postgres) as one, self.galley(postgres) as two:
            lease = self.register(one).lease
            await self.until(lambda: bool(two.leases.visible))
            assert two.leases.next_deadline() is None, "not its own to mind"
            assert two.leases.heartbeat(lease, healthy=True)
            two.changed()
            await self.until(lambda: one.leases.next_deadline() is None)
            assert one.leases.visible, "handed over, not ended"
            assert two.leases.next_deadline() is not None
            assert two.leases.deregister(lease)
            two.changed()
            await self.until(lambda: not one.leases.known)

    async def test_the_leases_of_a_galley_that_leaves_are_minded_by_another(self, postgres: str) -> None:
        async with self.galley(postgres) as two:
            async with self.galley(postgres) as one:
                lease = self.register(one).lease
                await self.until(lambda: bool(two.leases.visible))
            await self.until(lambda: two.leases.next_deadline() is not None)
            assert two.leases.visible
            assert two.leases.heartbeat(lease, healthy=True)


async def test_a_killed_galley_leaves_its_workloads_to_the_others(postgres: str, tmp_path: Path) -> None:
    """A real process, killed without warning: seen through the others all the time, minded by one of them after the lease."""
    code = "import asyncio, sys\nfrom tests.integration.galley.lease_holder import hold\nasyncio.run(hold(sys.argv[1]))"
    async with opened(postgres) as store, opened(postgres) as other:
        survivors = [await Workloads.open(s.writer, start=s.start) for s in (store, other)]
        tasks = [asyncio.create_task(work) for w in survivors for work in (w.run(), w.follow())]
        holder = await asyncio.create_subprocess_exec(sys.executable, "-c", code, postgres, stdout=asyncio.subprocess.PIPE)
        try:
            assert holder.stdout is not None
            async with asyncio.timeout(60):
                while not (line := (await holder.stdout.readline()).decode()).startswith("lease "):
                    pass
            lease = line.split()[1]
            async with asyncio.timeout(15):
                while not all(w.leases.visible for w in survivors):
                    await asyncio.sleep(0.01)
            holder.kill()
            await holder.wait()
            loop = asyncio.get_running_loop()
            died = loop.time()
            async with asyncio.timeout(LEASE_SECONDS + 15):
                while not any(w.leases.next_deadline() for w in survivors):
                    assert all(w.leases.visible for w in survivors), "nobody lost it meanwhile"
                    await asyncio.sleep(0.02)
            assert loop.time() - died > LEASE_SECONDS - BEAT_SECONDS - 1.5
            assert sum(w.leases.next_deadline() is not None for w in survivors) == 1, "one of them, not both"
            beaten = next(w for w in survivors if w.leases.next_deadline() is None)
            assert beaten.leases.heartbeat(lease, healthy=True), "the agent may go to either"
        finally:
            if holder.returncode is None:
                holder.kill()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def test_agents_and_reporters_are_seen_through_every_galley(postgres: str, tmp_path: Path) -> None:
    """By the real interfaces: registered and reported at one, read at the other, and the heartbeat may move."""
    async with running_galley(tmp_path / "one", database=postgres) as one, running_galley(tmp_path / "two", database=postgres) as two:
        where = [one.addresses["registration"]]
        agent = identity_of(authority, "default", "reviews")
        async with registration(agent, lambda: where[0], Workload(name="reviews-1"), lambda: True, interval=0.1), two.rest() as client:
            path = "/apis/networking.istio.io/v1alpha3/namespaces/default/workloadentries/reviews-1"
            uid = (await _until_200(client, path))["metadata"]["uid"]
            where[0] = two.addresses["registration"]
            await asyncio.sleep(0.5)
            assert (await _until_200(client, path))["metadata"]["uid"] == uid, "the same lease, minded by the other"
        async with one.rest() as client:
            await one.apply(virtual_service())
            path = "/apis/networking.istio.io/v1alpha3/namespaces/default/virtualservices/reviews"
            async with two.rest() as other:
                await _until_200(other, path)
            reporter = StatusReporter(part_identity(authority, "pilot"), two.addresses["registration"], pause=0.01)
            key = ResourceKey("istio/networking/v1alpha3/virtualservices", "default", "reviews")
            reporter.report(
                key, resource_version="1", type="Applied", verdict=Verdict.FALSE, reason="RejectedByEnvoy", message="no such filter"
            )
            stopping = asyncio.Event()
            reporting = asyncio.create_task(reporter.run(stopping))
            async with asyncio.timeout(15):
                while "no such filter" not in (await client.get(path)).text:
                    await asyncio.sleep(0.02)
            stopping.set()
            await reporting


async def _until_200(client: httpx.AsyncClient, path: str) -> Any:
    async with asyncio.timeout(15):
        while (answer := await client.get(path)).status_code != 200:
            await asyncio.sleep(0.02)
    return answer.json()


async def test_lost_connections_are_made_again_and_nothing_is_missed(postgres: str) -> None:
    """As after a restart of the server: every connection ends at once, those that listen too."""
    async with opened(postgres) as one, opened(postgres) as two:
        await one.write([Put(resource=worlds.virtual_service("before"))], actor="x")
        await until_revision(two, 1)
        with psycopg.connect(postgres, autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = current_database()"
            )
        for attempt in range(3):  # what was under way is told to come again; nothing is half done
            try:
                await one.write([Put(resource=worlds.virtual_service(f"after-{attempt}"))], actor="x")
                break
            except UnavailableError:
                continue
        else:
            pytest.fail("the database is back, but no write is taken")
        await until_revision(two, 2)
        assert [e.revision for e in two.feed.since(0)] == [1, 2]
