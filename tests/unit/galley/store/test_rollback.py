# SPDX-License-Identifier: Apache-2.0
"""Going back to a revision: what was is again, as new revisions."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from galley.errors import ConflictError, NotFoundError
from galley.store.model import Delete, Intent, Origin, Put, Snapshot
from galley.store.store import Store
from tests.unit.galley.store.worlds import opened, service, virtual_service

VIRTUAL_SERVICES = virtual_service().kind.collection


async def write(store: Store, *intents: Intent) -> None:
    await store.write(intents, actor="x")


def said(snapshot: Snapshot) -> dict[str, object]:
    """What users decided, without what we count."""
    return {str(s.key): (s.resource.spec, dict(s.resource.metadata.labels)) for s in snapshot}


async def test_an_object_returns_to_what_it_was_and_history_grows(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        for host in ("a", "b", "c"):
            await write(store, Put(resource=virtual_service(host=host)))
        await write(store, Put(resource=service()))
        (outcome,) = await store.rollback(1, actor="alice", collection=VIRTUAL_SERVICES, namespace="default", name="reviews")
        assert outcome.action == "configured"
        assert outcome.stored is not None
        assert (outcome.stored.resource.spec.hosts, outcome.stored.revision) == (("a",), 5)
        assert outcome.stored.resource.metadata.generation == 4
        assert [e.revision for e in await store.history(collection=VIRTUAL_SERVICES)] == [5, 3, 2, 1]
        assert len(store.snapshot.collection("k8s/core/v1/services").objects) == 1, "out of scope, untouched"


async def test_a_rollback_creates_what_was_deleted_and_deletes_what_was_not(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await write(store, Put(resource=virtual_service("old")))
        at = store.snapshot.revision
        await write(store, Delete(key=virtual_service("old").key), Put(resource=virtual_service("new")))
        outcomes = await store.rollback(at, actor="x")
        assert {o.key.name: o.action for o in outcomes} == {"old": "created", "new": "deleted"}
        assert [s.key.name for s in store.snapshot] == ["old"]
        await store.rollback(0, actor="x")
        assert list(store.snapshot) == []


async def test_a_rollback_can_be_looked_at_first_and_can_be_rolled_back(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await write(store, Put(resource=virtual_service(host="a")))
        await write(store, Put(resource=virtual_service(host="b")))
        assert [o.action for o in await store.rollback(1, actor="x", dry_run=True)] == ["configured"]
        assert store.snapshot.revision == 2
        await store.rollback(1, actor="x")
        await store.rollback(2, actor="x")
        assert [s.resource.spec.hosts for s in store.snapshot] == [("b",)]


async def test_who_writes_in_between_wins(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await write(store, Put(resource=virtual_service(host="a")))
        await write(store, Put(resource=virtual_service(host="b")))
        intents = await store.restoring(1)
        await write(store, Put(resource=virtual_service(host="c")))
        with pytest.raises(ConflictError, match="at version 3, not 2"):
            await write(store, *intents)


async def test_what_a_source_owns_is_not_rolled_back_behind_its_back(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        store.owners.add("directory")
        origin = Origin(owner="directory", file="a.yaml", line=3)
        for host in ("a", "b"):
            await write(store, Put(resource=virtual_service(host=host), origin=origin))
        with pytest.raises(ConflictError, match=r"belongs to the file a\.yaml:3"):
            await store.rollback(1, actor="x")


async def test_one_revision_can_be_read(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await write(store, Put(resource=virtual_service(host="a")), Put(resource=service()))
        await write(store, Delete(key=service().key))
        event = await store.revision(1)
        assert (event.type, event.stored.resource.spec.hosts, event.actor) == ("ADDED", ("a",), "x")
        assert (await store.revision(3)).type == "DELETED"
        for number in (0, 4):
            with pytest.raises(NotFoundError, match="the newest is 3"):
                await store.revision(number)
        with pytest.raises(NotFoundError, match="no revision 4"):
            await store.restoring(4)


STEPS = st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from([None, "x", "y", "z"])), min_size=1, max_size=12)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS, back=st.integers(0, 12))
async def test_after_a_rollback_everything_is_as_it_was(
    steps: list[tuple[str, str | None]], back: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    async with opened(tmp_path_factory.mktemp("store")) as store:
        worlds = {0: said(store.snapshot)}
        for name, host in steps:
            resource = virtual_service(name, host=host or "")
            await write(store, Delete(key=resource.key, missing_ok=True) if host is None else Put(resource=resource))
            worlds[store.snapshot.revision] = said(store.snapshot)
        target = min(back, store.snapshot.revision)
        await store.rollback(target, actor="x")
        assert said(store.snapshot) == worlds[target]
