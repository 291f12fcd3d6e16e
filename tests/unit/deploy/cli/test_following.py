# SPDX-License-Identifier: Apache-2.0
"""`trace` and `wait`: what is made of the spans of a change and of Pilot's account of its proxies."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
from opentelemetry import trace as opentelemetry
from opentelemetry.sdk.trace import TracerProvider

from common.telemetry.tracing import set_up_tracing
from deploy.cli.connection import Connection, Target
from deploy.cli.distribution import Distribution, NotForProxies, look, until_distributed
from deploy.cli.errors import CliError
from deploy.cli.mesh_resources import kind_and_name
from deploy.cli.trace import print_waterfall, settled, summary
from tests.running_galley import RunningGalley, virtual_service

Mesh = Callable[..., Awaitable[Any]]
MS = 1_000_000


def span(
    name: str, start: float, end: float, *, id: str = "", parent: str = "a", failed: bool = False, **attributes: str
) -> dict[str, Any]:
    part = name.partition(".")[0]
    times = {"start": int(start * MS), "end": int(end * MS)}
    return {"spanId": id or name, "parentId": parent, "part": part, "name": name, "attributes": attributes, "failed": failed, **times}


CHANGE = [
    span("galley.accept", 0, 5, id="a", parent=""),
    span("galley.store", 1, 4),
    span("pilot.push", 8, 9, id="p", proxies="3"),
    span("pilot.proxy", 8, 20, id="1", parent="p", proxy="web-1.default", acked="CDS, RDS"),
    span("pilot.proxy", 8, 16, id="2", parent="p", proxy="db-1.default", failed=True, refused="RDS 80: not like this"),
    span("pilot.proxies", 8, 18, id="3", parent="p", proxies="800"),
]


def test_a_waterfall_nests_steps_and_scales_bars(capsys: pytest.CaptureFixture[str]) -> None:
    print_waterfall(CHANGE[::-1])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["AT", "TOOK", "PART", "STEP", "0", "…", "20.0", "ms"]
    assert [" ".join(line.split()[:-1]) for line in lines[1:7]] == [
        "0.0 ms 5.0 ms galley accept",
        "1.0 ms 3.0 ms galley store",
        "8.0 ms 1.0 ms pilot push to 3",
        "8.0 ms 12.0 ms pilot web-1.default CDS, RDS",
        "8.0 ms 10.0 ms pilot 800 more proxies",
        "8.0 ms 8.0 ms pilot db-1.default ✘",
    ]
    store, whole = lines[2], lines[4]
    assert "  store" in store and store.count("▇") == 6 and whole.count("▇") == 24 and whole.endswith("▇")
    assert "✘ db-1.default refuses RDS 80: not like this" in lines


def test_the_last_line_says_what_it_comes_to() -> None:
    assert summary(CHANGE) == "taken by 801 proxies, the last one 20.0 ms after it was accepted; refused by 1"
    assert summary(CHANGE[:3]) == "no proxy needed anything new"
    assert summary([CHANGE[0], CHANGE[4]]) == "taken by no proxy; refused by 1"
    assert summary(CHANGE[:4]).startswith("taken by 1 proxy,")


def test_spans_of_a_young_change_are_waited_for() -> None:
    answers: list[Sequence[Any]] = [CHANGE[:2], CHANGE[:4], CHANGE, CHANGE, CHANGE]
    slept: list[float] = []
    assert settled(lambda: answers.pop(0), age=0.1, sleep=slept.append) == CHANGE
    assert len(slept) == 3
    assert settled(lambda: CHANGE[:2], age=60, sleep=slept.append) == CHANGE[:2] and len(slept) == 3


def test_a_resource_is_named_in_one_word_or_two() -> None:
    assert kind_and_name(["vs/reviews"])[1] == kind_and_name(["virtualservice", "reviews"])[1] == "reviews"
    for words in (["vs"], ["vs/"], ["vs", "a", "b"]):
        with pytest.raises(CliError, match="KIND/NAME"):
            kind_and_name(words)


def pilot(*answers: tuple[int, Any]) -> tuple[Connection, list[float]]:
    left, slept = list(answers), list[float]()
    client = httpx.Client(
        base_url="http://pilot",
        transport=httpx.MockTransport(lambda _: httpx.Response(left[0][0], json=(left.pop(0) if len(left) > 1 else left[0])[1])),
    )
    return Connection(Target(file=Path("k"), server="http://pilot", token="t", roots_pem=""), client, sleep=slept.append), slept


def known(version: str | None, **states: str) -> tuple[int, Any]:
    return 200, {"resourceVersion": version, "proxies": [{"proxy": proxy, "state": state} for proxy, state in states.items()]}


def wait_for(connection: Connection, slept: list[float], threshold: float = 1.0) -> Distribution:
    return until_distributed(connection, "vs/default/a", "7", threshold, 5, clock=lambda: sum(slept), sleep=slept.append)


def test_waiting_ends_when_all_have_the_version_or_a_newer_one() -> None:
    connection, slept = pilot(known(None), known("6", a="ACKED"), known("8", a="ACKED", b="PENDING"), known("8", a="ACKED", b="ACKED"))
    found = wait_for(connection, slept)
    assert found.arrived and found.acked == 2 and len(slept) == 3


def test_waiting_ends_at_once_when_nobody_uses_it() -> None:
    connection, slept = pilot(known("7"))
    assert wait_for(connection, slept) == Distribution(True, {}) and not slept


def test_waiting_ends_with_a_refusal_or_when_time_is_up() -> None:
    connection, slept = pilot(known("7", a="PENDING", b="REJECTED"))
    assert wait_for(connection, slept).in_state("REJECTED") == ["b"] and not slept
    connection, slept = pilot(known("7", a="PENDING", b="ACKED"))
    assert wait_for(connection, slept).in_state("PENDING") == ["a"] and sum(slept) == pytest.approx(5, abs=0.2)


def test_a_share_may_be_enough() -> None:
    connection, slept = pilot(known("7", a="ACKED", b="PENDING"))
    assert wait_for(connection, slept, 0.5).acked == 1 and not slept


def test_a_kind_that_no_envoy_gets_is_told_apart() -> None:
    connection, _ = pilot((404, {"detail": {"code": "NOT_FOR_PROXIES", "message": "no"}}))
    with pytest.raises(NotForProxies):
        look(connection, "handler/default/a", "1")
    connection, _ = pilot((403, {"detail": "not yours"}))
    with pytest.raises(CliError, match="not yours"):
        look(connection, "vs/default/a", "1")


async def test_a_change_at_galley_alone_is_shown(mesh: Mesh, one_galley: RunningGalley) -> None:
    if not isinstance(opentelemetry.get_tracer_provider(), TracerProvider):
        set_up_tracing("tests", "")
    await one_galley.apply(virtual_service())
    ran = await mesh("trace", "vs/reviews")
    assert ran.code == 0 and "VirtualService default/reviews: create by admin, revision " in ran.out
    assert [step for step in ("accept", "validate", "store", "publish") if step in ran.out] == ["accept", "validate", "store", "publish"]
    assert "no proxy needed anything new" in ran.out
    assert (await mesh("trace", "vs/nothing")).code == 1
    ran = await mesh("trace", "vs/reviews", "--revision", "999999")
    assert ran.code == 1 and "was not changed in revision 999999" in ran.err
