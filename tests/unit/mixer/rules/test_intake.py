# SPDX-License-Identifier: Apache-2.0
"""Changes from Galley become snapshots, reports and the last good set."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

from common.config.kinds.mixer import HANDLER, RULE
from common.config.kinds.networking import WORKLOAD_ENTRY
from common.config.resource import Resource, ResourceKey
from common.mcp.change import Change
from common.mcp.lastgood import LastGood
from common.registration.reporter import Verdict
from mixer.attributes.workloads import WorkloadIndex
from mixer.rules.builder import SnapshotBuilder
from mixer.rules.intake import ALL_COLLECTIONS, Intake
from mixer.rules.snapshot import Snapshot
from tests.unit.mixer.attributes.test_workloads import entry
from tests.unit.mixer.resources import denial, environment, handler, instance, rule

RESOURCES = (handler("deny", "denier", denial("no")), instance("nothing", "checknothing"), rule("r", "", ("deny", "nothing")))


class Desk:
    """An intake at work, and what came of it."""

    def __init__(self, folder: Path | None = None) -> None:
        self.published: list[Snapshot] = []
        self.reports: list[tuple[str, Verdict, str]] = []
        self.workloads = WorkloadIndex()
        self._next = asyncio.Event()
        self.intake = Intake(
            SnapshotBuilder(environment()),
            self.workloads,
            self._publish,
            last_good=LastGood(folder) if folder else None,
            report=self._report,
            settle=0.0,
        )

    async def _publish(self, snapshot: Snapshot) -> None:
        self.published.append(snapshot)
        self._next.set()

    def _report(self, key: ResourceKey, *, resource_version: str, type: str, verdict: Verdict, reason: str, message: str = "") -> None:
        if type == "Programmed":
            self.reports.append((str(key), verdict, reason))
        else:
            assert (type, verdict is Verdict.TRUE) == ("Rejected", bool(message)), "Rejected is True while there is something to say"

    async def next(self) -> Snapshot:
        async with asyncio.timeout(5):
            await self._next.wait()
        self._next.clear()
        return self.published[-1]

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Desk]:
        task = asyncio.create_task(self.intake.run())
        try:
            yield self
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def deliver(intake: Intake, resources: Sequence[Resource[Any]], *, but: str = "") -> None:
    for collection in ALL_COLLECTIONS:
        if collection != but:
            found = tuple(each for each in resources if each.key.collection == collection)
            await intake.on_change(Change(collection=collection, version=f"{collection}/1", upserts=found, full=True))


async def test_nothing_is_published_before_every_collection_came() -> None:
    async with Desk().running() as desk:
        await deliver(desk.intake, RESOURCES, but=HANDLER.collection)
        assert desk.intake.missing == [HANDLER.collection]
        await asyncio.sleep(0.01)
        assert desk.published == []
        await desk.intake.on_change(Change(collection=HANDLER.collection, version="1", upserts=RESOURCES[:1], full=True))
        assert list((await desk.next()).handlers) == ["deny.handler.default"]
        assert desk.intake.synced.is_set()


async def test_an_empty_push_deletes() -> None:
    async with Desk().running() as desk:
        await deliver(desk.intake, RESOURCES)
        await desk.next()
        await desk.intake.on_change(Change(collection=RULE.collection, version="2", full=True))
        assert (await desk.next()).namespaces == {}


async def test_each_resource_is_told_its_verdict_once_per_version() -> None:
    async with Desk().running() as desk:
        broken = rule("b", "nope", ("deny", "nothing"))
        await deliver(desk.intake, (*RESOURCES, broken))
        await desk.next()
        assert {key: verdict for key, verdict, _ in desk.reports} == {
            "handler default/deny": Verdict.TRUE,
            "instance default/nothing": Verdict.TRUE,
            "rule default/r": Verdict.TRUE,
            "rule default/b": Verdict.FALSE,
        }
        desk.reports.clear()
        mended = rule("b", "", ("deny", "nothing"), version="2")
        await desk.intake.on_change(Change(collection=RULE.collection, version="2", upserts=(mended,)))
        await desk.next()
        assert desk.reports == [("rule default/b", Verdict.TRUE, "AcceptedByMixer")]


async def test_workloads_reach_the_index_without_a_new_snapshot() -> None:
    async with Desk().running() as desk:
        await deliver(desk.intake, RESOURCES)
        first = await desk.next()
        workload = entry("reviews-v1", "10.0.0.1")
        await desk.intake.on_change(Change(collection=WORKLOAD_ENTRY.collection, version="2", upserts=(workload,)))
        assert desk.workloads.at(bytes([10, 0, 0, 1])) is not None
        await desk.intake.on_change(Change(collection=WORKLOAD_ENTRY.collection, version="3", removed=(workload.key.mcp_name,)))
        assert desk.workloads.at(bytes([10, 0, 0, 1])) is None
        await asyncio.sleep(0.01)
        assert desk.published == [first]


async def test_a_restart_serves_the_last_good_set(tmp_path: Path) -> None:
    async with Desk(tmp_path).running() as desk:
        await deliver(desk.intake, (*RESOURCES, entry("reviews-v1", "10.0.0.1")))
        before = await desk.next()
    restarted = Desk(tmp_path)
    await restarted.intake.restore()
    async with restarted.running():
        after = await restarted.next()
    assert (after.epoch, list(after.handlers)) == (before.epoch, list(before.handlers))
    assert len(restarted.workloads) == 1
