# SPDX-License-Identifier: Apache-2.0
"""Quota as a conversation: at this second, so many were asked, so many granted."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixer.adapters.contract import Allocation
from mixer.adapters.quota_window import RollingWindow
from mixer.dispatch.result import QuotaRequest
from mixer.errors import HandlerError
from tests.unit.mixer.adapters.building import build, shape
from tests.unit.mixer.resources import environment

COUNT = shape(
    "quota", {"dimensions": {"destination": 'destination.service.name | "-"', "source": 'source.user | "-"'}}, "count.instance.ns"
)


class Desk:
    """A handler, its clock, and who asks."""

    def __init__(self, quota: dict[str, Any], **params: Any) -> None:
        self.now = 100.0
        quotas = [{"name": "count.instance.ns", **quota}]
        self.handler = build("memquota", {"quotas": quotas, **params}, COUNT, within=environment(lambda: self.now))

    def ask(self, amount: int, *, at: float = 0.0, best_effort: bool = False, dedup: str = "", who: str = "a", to: str = "x") -> Allocation:
        self.now = 100.0 + at
        answer = self.handler.allocate(COUNT, ((to, who),), QuotaRequest(amount, best_effort, dedup))
        assert isinstance(answer, Allocation)
        return answer


def test_two_in_five_seconds() -> None:
    desk = Desk({"maxAmount": 2, "validDuration": "5s"})
    granted = [desk.ask(1, at=at).granted for at in (0, 1, 2, 4.9, 5.0, 5.5, 6.0, 6.1)]
    assert granted == [1, 1, 0, 0, 1, 0, 1, 0]
    assert desk.ask(1, at=7).valid_duration == 5.0


def test_all_or_nothing_unless_best_effort() -> None:
    desk = Desk({"maxAmount": 10, "validDuration": "1s"})
    assert desk.ask(11).granted == 0
    assert desk.ask(7).granted == 7
    assert desk.ask(7).granted == 0
    assert desk.ask(7, best_effort=True).granted == 3
    assert desk.ask(7, best_effort=True).granted == 0


def test_each_combination_of_dimensions_counts_alone() -> None:
    desk = Desk({"maxAmount": 1, "validDuration": "5s"})
    assert [desk.ask(1, who=who, to=to).granted for who, to in (("a", "x"), ("b", "x"), ("a", "y"), ("a", "x"))] == [1, 1, 1, 0]


def test_the_first_override_that_agrees_counts() -> None:
    overrides = [
        {"dimensions": {"destination": "ratings", "source": "a"}, "maxAmount": 1, "validDuration": "5s"},
        {"dimensions": {"destination": "ratings"}, "maxAmount": 2, "validDuration": "5s"},
        {"dimensions": {"region": ""}, "maxAmount": 3, "validDuration": "5s"},
    ]
    desk = Desk({"maxAmount": 500, "validDuration": "1s", "overrides": overrides})
    assert desk.ask(9, best_effort=True, to="ratings", who="a").granted == 1
    assert desk.ask(9, best_effort=True, to="ratings", who="b").granted == 2
    assert desk.ask(9, best_effort=True, to="other").granted == 3, "a dimension that the instance lacks equals the empty text"


def test_a_repeated_id_gets_the_same_answer_for_a_while() -> None:
    desk = Desk({"maxAmount": 1, "validDuration": "5s"}, minDeduplicationDuration="1s")
    assert desk.ask(1, dedup="id") == Allocation(1, 5.0)
    assert desk.ask(1, at=0.5, dedup="id") == Allocation(1, 4.5)
    late = desk.ask(1, at=1.2, dedup="id")
    assert (late.granted, round(late.valid_duration, 3)) == (1, 3.8), "remembered once to twice the duration"
    assert desk.ask(1, at=2.5, dedup="id").granted == 0
    assert desk.ask(1, at=2.6).granted == 0, "no id is no deduplication"


def test_without_a_window_tokens_come_back_only_when_released() -> None:
    desk = Desk({"maxAmount": 2})
    assert [desk.ask(1, at=at).granted for at in (0, 1000, 2000)] == [1, 1, 0]
    assert desk.ask(-1, at=2001).granted == -1
    assert desk.ask(2, at=2002, best_effort=True).granted == 1


def test_a_flood_of_keys_is_bounded() -> None:
    desk = Desk({"maxAmount": 1, "validDuration": "5s"})
    desk.handler.MAX_KEYS = 3
    for who in "abcd":
        desk.ask(1, who=who)
    assert desk.ask(1, who="d").granted == 0
    assert len(desk.handler._counters) == 3


@given(st.integers(1, 20), st.integers(1, 3), st.lists(st.tuples(st.integers(1, 5), st.floats(0, 1)), max_size=80))
def test_no_window_ever_grants_more_than_its_limit(limit: int, seconds: int, requests: list[tuple[int, float]]) -> None:
    window, now = RollingWindow(limit, seconds), 50.0
    given_at: list[tuple[float, int]] = []
    for amount, pause in requests:
        now += pause
        given_at.append((now, window.take(amount, now)))
        recent = sum(taken for at, taken in given_at if at > now - seconds + 0.1)
        assert recent <= limit
    assert window.available(now + seconds + 0.1) == limit


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"quotas": []}, "params.quotas"),
        ({"quotas": [{"name": "count.instance.ns", "maxAmount": -1}]}, "params.quotas[0].maxAmount"),
        ({"quotas": [{"name": "count.instance.ns", "validDuration": "x"}]}, "params.quotas[0].validDuration"),
        (
            {"quotas": [{"name": "count.instance.ns", "overrides": [{"validDuration": "25h"}]}]},
            "params.quotas[0].overrides[0].validDuration",
        ),
        ({"quotas": [{"name": "count.instance.ns"}], "minDeduplicationDuration": "0s"}, "params.minDeduplicationDuration"),
    ],
)
def test_wrong_parameters_are_named(params: dict[str, Any], field: str) -> None:
    with pytest.raises(HandlerError) as caught:
        build("memquota", params, COUNT)
    assert caught.value.field == field
