# SPDX-License-Identifier: Apache-2.0
"""What GET shows about a resource."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from common.config.resource import Resource
from galley.analysis import Finding
from galley.analysis.codes import REFERENCED_RESOURCE_NOT_FOUND
from galley.analysis.finding import finding
from galley.status.analysis import Analysis
from galley.status.conditions import status_of
from galley.status.reports import MOST_SLOTS, Report, Reports
from galley.store.model import Delete, Put
from galley.store.workloads import Workloads
from tests.running_galley import RunningGalley, document, service, virtual_service
from tests.unit.galley.store import worlds

REVIEWS = "/apis/networking.istio.io/v1alpha3/namespaces/default/virtualservices/reviews"


def report(version: str = "1", *, verdict: Any = "True", reporter: str = "pilot/a", at: str = "t1", message: str = "") -> Report:
    return Report(
        collection=worlds.virtual_service().kind.collection,
        name="default/reviews",
        type="Applied",
        reporter=reporter,
        resource_version=version,
        verdict=verdict,
        reason="Because",
        message=message,
        at=at,
    )


async def test_a_reference_to_nothing_is_stored_and_shown_at_its_place(galley: RunningGalley) -> None:
    wanted = virtual_service()
    wanted["spec"]["http"][0]["route"][0]["destination"]["subset"] = "v9"
    async with galley.rest() as client:
        item = {"document": wanted, "source": {"file": "reviews.yaml", "line": 4}}
        answer = await client.post("/apis/fourmast.io/v1/batch", json={"items": [item, {"document": service()}]})
        assert answer.status_code == 200
        async with asyncio.timeout(5):
            while not (status := (await client.get(REVIEWS)).json().get("status")):
                await asyncio.sleep(0.03)
        assert status["validationMessages"][0]["code"] == "IST0101"
        assert [(c["type"], c["status"]) for c in status["conditions"]] == [("PassedAnalysis", "False")]
        (found,) = (await client.get("/apis/fourmast.io/v1/findings")).json()["items"]
        assert (found["file"], found["line"], found["resource"]) == ("reviews.yaml", 4, "VirtualService default/reviews")
        assert found["path"] == "spec.http[0].route[0].destination.subset"

        subset = {"name": "v9", "labels": {"version": "v9"}}
        await galley.apply(document("DestinationRule", "reviews", {"host": "reviews", "subsets": [subset]}))
        async with asyncio.timeout(5):
            while (await client.get("/apis/fourmast.io/v1/findings")).json()["items"]:
                await asyncio.sleep(0.03)
        status = (await client.get(REVIEWS)).json()["status"]
        assert [(c["type"], c["status"]) for c in status["conditions"]] == [("PassedAnalysis", "True")]


async def test_conditions_speak_of_the_present_version_only(tmp_path: Path) -> None:
    async with worlds.opened(tmp_path) as store:
        await store.write([Put(resource=worlds.virtual_service())], actor="x")
        stored = store.snapshot.get(worlds.virtual_service().key)
    assert stored is not None
    assert status_of(stored, [], None) == {}
    assert status_of(stored, [report("0")], None) == {}
    (condition,) = status_of(stored, [report("1", message="m")], None)["conditions"]
    assert (condition["type"], condition["status"], condition["reporter"], condition["message"]) == ("Applied", "True", "pilot/a", "m")
    mild = Finding(code=REFERENCED_RESOURCE_NOT_FOUND.code, name="x", level="Info", resource=stored.key, path="", message="fyi")
    status = status_of(stored, [], [mild])
    assert (status["conditions"][0]["status"], len(status["validationMessages"])) == ("True", 1)


async def test_reports_are_the_newest_of_each_reporter_and_keep_the_time_of_their_verdict(tmp_path: Path) -> None:
    async with worlds.opened(tmp_path) as store:
        await store.write([Put(resource=worlds.virtual_service())], actor="x")
        key = worlds.virtual_service().key
        reports = await Reports.open(store.writer, store.snapshot)
        store.subscribe(reports.on_events)
        reports.take(report(at="t1"))
        reports.take(report(at="t2", message="still"))
        reports.take(report(at="t2", reporter="pilot/b", verdict="False"))
        assert [(r.reporter, r.at, r.message) for r in reports.of(key)] == [("pilot/a", "t1", "still"), ("pilot/b", "t2", "")]
        reports.take(report(at="t3", verdict="False"))
        assert reports.of(key)[0].at == "t3"
        for n in range(MOST_SLOTS + 10):
            reports.take(report(reporter=f"pilot/{n:04}"))
        assert len(reports.of(key)) == MOST_SLOTS, "a reporter with many names fills nothing"
        await store.write([Delete(key=key)], actor="x")
        assert reports.of(key) == ()


async def test_analysis_runs_beside_writes_and_its_fault_changes_nothing(tmp_path: Path) -> None:
    async with worlds.opened(tmp_path) as store:
        calls: list[int] = []

        def analyse(resources: Iterable[Resource[Any]]) -> tuple[Finding, ...]:
            found = list(resources)
            calls.append(len(found))
            if len(calls) == 2:
                raise ZeroDivisionError
            return tuple(finding(REFERENCED_RESOURCE_NOT_FOUND, resource, ("spec",), "gone") for resource in found)

        analysis = Analysis(store, await Workloads.open(store.writer, start=store.start), analyse)
        store.subscribe(analysis.on_events)
        key = worlds.virtual_service().key
        assert analysis.of(key, 1) is None
        await store.write([Put(resource=worlds.virtual_service())], actor="x")
        await analysis.analyse()
        assert [f.message for f in analysis.of(key, 1) or ()] == ["gone"]
        assert analysis.of(key, 2) is None, "a newer version was not looked at yet"
        with pytest.raises(ZeroDivisionError):
            await analysis.analyse()
        assert len(analysis.all()) == 1
