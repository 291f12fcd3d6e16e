# SPDX-License-Identifier: Apache-2.0
"""What GET shows about a resource."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from common.config.resource import Resource
from galley.analysis import Finding, Memory
from galley.analysis.codes import REFERENCED_RESOURCE_NOT_FOUND
from galley.analysis.finding import finding
from galley.status.analysis import Analysis
from galley.status.conditions import status_of
from galley.status.reports import MOST_SLOTS, Report, Reports
from galley.store.model import Delete, Put, Stored
from galley.store.workloads import Workloads
from tests.running_galley import RunningGalley, document, service, virtual_service
from tests.unit.galley.store import worlds

REVIEWS = "/apis/networking.istio.io/v1alpha3/namespaces/default/virtualservices/reviews"


def report(
    version: str = "1",
    *,
    type_: str = "Programmed",
    verdict: Any = "True",
    reason: str = "Because",
    reporter: str = "pilot/a",
    at: str = "t1",
    message: str = "",
) -> Report:
    return Report(
        collection=worlds.virtual_service().kind.collection,
        name="default/reviews",
        type=type_,
        reporter=reporter,
        resource_version=version,
        verdict=verdict,
        reason=reason,
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
            while not (status := (await client.get(REVIEWS)).json()["status"]).get("validationMessages"):
                assert [(c["type"], c["status"]) for c in status["conditions"]][1:] == [("Analyzed", "Unknown")]
                await asyncio.sleep(0.03)
        assert status["validationMessages"][0]["code"] == "IST0101"
        assert [(c["type"], c["status"]) for c in status["conditions"]] == [("Accepted", "True"), ("Analyzed", "False")]
        assert status["conditions"][1]["message"].startswith("Error [IST0101] Referenced host+subset")
        assert status["validationMessages"][0]["path"] == "spec.http[0].route[0].destination.subset"
        (found,) = (await client.get("/apis/fourmast.io/v1/findings")).json()["items"]
        assert (found["file"], found["line"], found["resource"]) == ("reviews.yaml", 4, "VirtualService default/reviews")
        assert found["path"] == "spec.http[0].route[0].destination.subset"

        subset = {"name": "v9", "labels": {"version": "v9"}}
        await galley.apply(document("DestinationRule", "reviews", {"host": "reviews", "subsets": [subset]}))
        async with asyncio.timeout(5):
            while (await client.get("/apis/fourmast.io/v1/findings")).json()["items"]:
                await asyncio.sleep(0.03)
        status = (await client.get(REVIEWS)).json()["status"]
        assert [(c["type"], c["status"]) for c in status["conditions"]] == [("Accepted", "True"), ("Analyzed", "True")]


@pytest.fixture
async def stored(tmp_path: Path) -> Stored:
    async with worlds.opened(tmp_path) as store:
        await store.write([Put(resource=worlds.virtual_service())], actor="x")
        found = store.snapshot.get(worlds.virtual_service().key)
    assert found is not None
    return found


def conditions(stored: Stored, *reports: Report) -> dict[str, tuple[str, str, str]]:
    """Status, reason and message of what Pilot and Mixer said, by type."""
    found = status_of(stored, reports, None)["conditions"][2:]
    assert len({each["type"] for each in found}) == len(found), "a type appears once"
    return {each["type"]: (each["status"], each["reason"], each["message"]) for each in found}


def test_what_galley_itself_knows(stored: Stored) -> None:
    unknown = status_of(stored, [], None)
    assert [(c["type"], c["status"], c["message"]) for c in unknown["conditions"]] == [
        ("Accepted", "True", "stored as revision 1"),
        ("Analyzed", "Unknown", ""),
    ]
    assert {c["observedGeneration"] for c in unknown["conditions"]} == {1}
    found = [
        Finding(code=REFERENCED_RESOURCE_NOT_FOUND.code, name="x", level=level, resource=stored.key, path="", message=level)
        for level in ("Info", "Warning", "Error")
    ]
    mild = status_of(stored, [], found[:1])
    assert (mild["conditions"][1]["status"], mild["validationMessages"][0]["message"]) == ("True", "Info")
    worse = status_of(stored, [], found)
    assert (worse["conditions"][1]["status"], len(worse["validationMessages"])) == ("False", 3)
    assert worse["conditions"][1]["message"] == "Warning [IST0101] Warning; Error [IST0101] Error"


def test_conditions_speak_of_the_present_version_only(stored: Stored) -> None:
    assert conditions(stored, report("0"), report("0", type_="Rejected")) == {}
    assert conditions(stored, report("1", message="2/2 proxies")) == {"Programmed": ("True", "Because", "2/2 proxies")}


def test_a_refusal_is_shown_in_its_own_words_until_it_ends(stored: Stored) -> None:
    refused = [
        report(verdict="False", reason="RejectedByEnvoy", message="1/2 proxies"),
        report(type_="Rejected", reason="RejectedByEnvoy", message="reviews-1 refuses CDS x: Invalid path: /ca.pem"),
    ]
    assert conditions(stored, *refused) == {
        "Programmed": ("False", "RejectedByEnvoy", "1/2 proxies"),
        "Rejected": ("True", "RejectedByEnvoy", "reviews-1 refuses CDS x: Invalid path: /ca.pem"),
    }
    ended = report(type_="Rejected", verdict="False", reason="AcceptedByEnvoy", message="no connected proxy refuses it any more")
    assert conditions(stored, report(message="2/2 proxies"), ended) == {"Programmed": ("True", "Because", "2/2 proxies")}


@pytest.mark.parametrize(
    ("reports", "merged"),
    [
        ([("pilot/a", "True", "", "3/3 proxies"), ("mixer/a", "True", "", "")], ("True", "", "3/3 proxies")),
        ([("pilot/a", "True", "", "3/3"), ("pilot/b", "True", "", "1/1")], ("True", "", "pilot/a: 3/3; pilot/b: 1/1")),
        ([("pilot/a", "True", "", "3/3"), ("pilot/b", "Unknown", "Pending", "0/1")], ("Unknown", "Pending", "pilot/b: 0/1; pilot/a: 3/3")),
        ([("pilot/a", "Unknown", "Pending", "1/3"), ("pilot/b", "False", "Bad", "0/1")], ("False", "Bad", "pilot/b: 0/1; pilot/a: 1/3")),
        ([("pilot/a", "Unknown", "NotUsed", "nobody"), ("mixer/a", "True", "Taken", "")], ("True", "Taken", "")),
        ([("pilot/a", "Unknown", "NotUsed", "nobody")], ("Unknown", "NotUsed", "nobody")),
    ],
)
def test_several_reporters_make_one_condition(
    stored: Stored, reports: list[tuple[str, Any, str, str]], merged: tuple[str, str, str]
) -> None:
    said = [report(reporter=who, verdict=verdict, reason=reason, message=message) for who, verdict, reason, message in reports]
    assert conditions(stored, *said) == {"Programmed": merged}
    assert conditions(stored, *reversed(said)) == {"Programmed": merged}


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

        def analyse(resources: Iterable[Resource[Any]], /, *, memory: Memory) -> tuple[Finding, ...]:
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
