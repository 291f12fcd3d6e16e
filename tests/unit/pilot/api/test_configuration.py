# SPDX-License-Identifier: Apache-2.0
"""Configuration from Galley and from disk, and who may be forgotten when."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

import common.config.kinds  # noqa: F401 - registers the kinds
from common.config.kinds.networking import VIRTUAL_SERVICE, WORKLOAD_ENTRY
from common.config.resource import Resource, from_document
from common.mcp.change import Change
from common.mcp.lastgood import LastGood
from pilot.api.configuration import Configuration

ROUTES, WORKLOADS = VIRTUAL_SERVICE.collection, WORKLOAD_ENTRY.collection


def route(name: str, host: str = "a") -> Resource[Any]:
    return from_document(
        {
            "apiVersion": "networking.istio.io/v1alpha3",
            "kind": "VirtualService",
            "metadata": {"name": name, "namespace": "default"},
            "spec": {"hosts": [host]},
        }
    )


def workload(name: str, *, registered: bool = True) -> Resource[Any]:
    annotations = {"fourmast.io/registered": "true"} if registered else {}
    return from_document(
        {
            "apiVersion": "networking.istio.io/v1alpha3",
            "kind": "WorkloadEntry",
            "metadata": {"name": name, "namespace": "default", "annotations": annotations},
            "spec": {"address": "10.0.0.1"},
        }
    )


def full(collection: str, *resources: Resource[Any], version: str = "1") -> Change:
    return Change(collection=collection, version=version, upserts=resources, full=True)


class Loaded:
    def __init__(self, folder: Path, *, grace: float = 60.0) -> None:
        self.events: list[tuple[str, str]] = []
        self.configuration = Configuration([ROUTES, WORKLOADS], last_good=LastGood(folder), grace=grace)
        self.configuration.changed = lambda trigger, trace: self.events.append((trigger, trace))
        self.configuration.restore()

    def names(self, collection: str) -> set[str]:
        return {resource.name for resource in self.configuration.snapshot().get(collection, {}).values()}

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.configuration.run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def saved(folder: Path, *changes: Change) -> None:
    """What an earlier Pilot left behind."""
    earlier = Loaded(folder)
    async with earlier.running():
        for change in changes:
            await earlier.configuration.on_change(change)
        await asyncio.sleep(0)


async def test_it_is_complete_when_every_collection_came_even_empty(tmp_path: Path) -> None:
    loaded = Loaded(tmp_path)
    await loaded.configuration.on_change(full(ROUTES, route("a")))
    assert not loaded.configuration.is_complete and loaded.configuration.missing == [WORKLOADS]
    await loaded.configuration.on_change(full(WORKLOADS))
    assert loaded.configuration.is_complete and loaded.configuration.is_current
    assert [trigger for trigger, _ in loaded.events] == ["config", "endpoint"]


async def test_incremental_changes(tmp_path: Path) -> None:
    loaded = Loaded(tmp_path)
    await loaded.configuration.on_change(full(ROUTES, route("a"), route("b")))
    before = loaded.configuration.snapshot()
    await loaded.configuration.on_change(
        Change(collection=ROUTES, version="2", upserts=(route("c"),), removed=("default/a",), traceparent="00-1-2-01")
    )
    assert loaded.names(ROUTES) == {"b", "c"}
    assert {r.name for r in before[ROUTES].values()} == {"a", "b"}, "a snapshot never changes"
    assert loaded.events[-1] == ("config", "00-1-2-01")


async def test_what_did_not_change_stays_the_same_object(tmp_path: Path) -> None:
    loaded = Loaded(tmp_path)
    await loaded.configuration.on_change(full(ROUTES, route("a")))
    await loaded.configuration.on_change(full(WORKLOADS, workload("w")))
    before = loaded.configuration.snapshot()
    events = len(loaded.events)
    await loaded.configuration.on_change(full(ROUTES, route("a"), version="2"))
    after = loaded.configuration.snapshot()
    assert after[ROUTES] is before[ROUTES] and after[WORKLOADS] is before[WORKLOADS]
    assert len(loaded.events) == events, "and nobody is told of nothing"


async def test_a_restarted_pilot_has_the_last_good_set_at_once(tmp_path: Path) -> None:
    await saved(tmp_path, full(ROUTES, route("a")), full(WORKLOADS, workload("w")))
    loaded = Loaded(tmp_path)
    assert loaded.configuration.is_complete and not loaded.configuration.is_current
    assert (loaded.names(ROUTES), loaded.names(WORKLOADS)) == ({"a"}, {"w"})
    assert all((path.stat().st_mode & 0o777) == 0o600 for path in tmp_path.glob("*.json"))


async def test_registered_workloads_outlive_a_galley_that_has_not_heard_them_yet(tmp_path: Path) -> None:
    await saved(tmp_path, full(ROUTES), full(WORKLOADS, workload("w1"), workload("w2"), workload("fixed", registered=False)))
    loaded = Loaded(tmp_path)
    await loaded.configuration.on_change(full(WORKLOADS, version="9"))
    assert loaded.names(WORKLOADS) == {"w1", "w2"}, "what is not registered is Galley's word alone"
    await loaded.configuration.on_change(Change(collection=WORKLOADS, version="10", upserts=(workload("w1"),)))
    await loaded.configuration.on_change(Change(collection=WORKLOADS, version="11", removed=("default/w1", "default/w2")))
    assert loaded.names(WORKLOADS) == {"w2"}, "w1 was heard of since, so its end is news"


async def test_the_grace_ends(tmp_path: Path) -> None:
    await saved(tmp_path, full(ROUTES), full(WORKLOADS, workload("w1"), workload("w2")))
    loaded = Loaded(tmp_path, grace=0.05)
    async with loaded.running():
        await loaded.configuration.on_change(full(WORKLOADS, workload("w1"), version="9"))
        assert loaded.names(WORKLOADS) == {"w1", "w2"}
        async with asyncio.timeout(2):
            while loaded.names(WORKLOADS) != {"w1"}:
                await asyncio.sleep(0.01)


async def test_the_grace_does_not_end_before_galley_has_spoken(tmp_path: Path) -> None:
    await saved(tmp_path, full(ROUTES), full(WORKLOADS, workload("w1")))
    loaded = Loaded(tmp_path, grace=0.02)
    async with loaded.running():
        await asyncio.sleep(0.1)
        assert loaded.names(WORKLOADS) == {"w1"}, "serving the last good set, never an empty mesh"


async def test_a_storm_is_written_seldom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writes = 0
    genuine = LastGood.record

    def record(self: LastGood, change: Change) -> None:
        nonlocal writes
        writes += 1
        genuine(self, change)

    monkeypatch.setattr(LastGood, "record", record)
    loaded = Loaded(tmp_path)
    async with loaded.running():
        await loaded.configuration.on_change(full(WORKLOADS))
        for number in range(200):
            await loaded.configuration.on_change(Change(collection=WORKLOADS, version=str(number), upserts=(workload(f"w{number}"),)))
            await asyncio.sleep(0.001)
    assert writes < 10
    assert len(Loaded(tmp_path).names(WORKLOADS)) == 200, "what came last is on disk all the same"
