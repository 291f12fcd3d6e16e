# SPDX-License-Identifier: Apache-2.0
"""What the analysis beside the writes hands to the analysers, from one time to the next."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from common.config.kinds.networking import WorkloadEntry
from common.config.resource import Resource
from galley.analysis import Finding, Memory, analyze
from galley.status.analysis import Analysis
from galley.store.model import Put
from galley.store.workloads import REGISTERED, Workloads
from tests.unit.galley.store import worlds


class Watched:
    """`analyze`, and with what it was called."""

    def __init__(self) -> None:
        self.calls: list[dict[str, Resource[Any]]] = []
        self.memories: set[int] = set()

    def __call__(self, resources: Sequence[Resource[Any]], /, *, memory: Memory) -> Sequence[Finding]:
        self.calls.append({str(resource.key): resource for resource in resources})
        assert len(self.calls[-1]) == len(resources), "each name once"
        self.memories.add(id(memory))
        found = analyze(resources, memory=memory)
        assert found == analyze(resources)
        return found

    def changed(self) -> set[str]:
        """Whose objects were others in the last call than in the one before."""
        before, now = self.calls[-2:]
        return {key for key in before.keys() | now.keys() if before.get(key) is not now.get(key)}


def register(workloads: Workloads, name: str, address: str = "127.0.0.9") -> None:
    spec = WorkloadEntry(address=address, labels={"app": name}, serviceAccount="x")
    workloads.leases.register(namespace="default", name=name, spec=spec, healthy=True, at="")
    workloads.changed()


async def test_only_what_changed_is_another_object(tmp_path: Path) -> None:
    async with worlds.opened(tmp_path) as store:
        workloads = await Workloads.open(store.writer, start=store.start)
        watched = Watched()
        analysis = Analysis(store, workloads, watched)
        register(workloads, "a")
        register(workloads, "b")
        await store.write([Put(resource=worlds.virtual_service()), Put(resource=worlds.service())], actor="x")
        await analysis.analyse()
        assert set(watched.calls[0]) == {
            "VirtualService default/reviews",
            "Service default/reviews",
            "WorkloadEntry default/a",
            "WorkloadEntry default/b",
        }
        await analysis.analyse()
        assert watched.changed() == set()
        await store.write([Put(resource=worlds.virtual_service(host="reviews.example.com"))], actor="x")
        await analysis.analyse()
        assert watched.changed() == {"VirtualService default/reviews"}
        register(workloads, "a")  # an agent that was restarted
        await analysis.analyse()
        assert watched.changed() == set()
        register(workloads, "b", address="127.0.0.10")
        await analysis.analyse()
        assert watched.changed() == {"WorkloadEntry default/b"}
        assert len(watched.memories) == 1


async def test_a_configured_workload_wins_over_a_registered_one_of_its_name(tmp_path: Path) -> None:
    async with worlds.opened(tmp_path) as store:
        workloads = await Workloads.open(store.writer, start=store.start)
        watched = Watched()
        analysis = Analysis(store, workloads, watched)
        register(workloads, "a")
        await analysis.analyse()
        assert watched.calls[-1]["WorkloadEntry default/a"].metadata.annotations == {REGISTERED: "true"}
        await store.write([Put(resource=worlds.resource("WorkloadEntry", "a", {"address": "127.0.0.7"}))], actor="x")
        await analysis.analyse()
        assert watched.calls[-1]["WorkloadEntry default/a"].spec.address == "127.0.0.7"
