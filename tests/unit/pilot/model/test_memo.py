# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Callable

from pilot.model.memo import MOST_KEPT, Memo


def test_a_value_is_made_once_and_survives_while_it_is_asked_for() -> None:
    made: list[str] = []

    def make() -> object:
        made.append("made")
        return object()

    first = Memo()
    value = first.get("key", make)
    assert first.get("key", make) is value
    second = Memo(first)
    assert second.get("key", make) is value
    assert Memo(second).get("key", make) is value
    assert made == ["made"]


def test_what_a_generation_does_not_ask_for_is_forgotten_with_the_next() -> None:
    first = Memo()
    first.get("key", lambda: "old")
    third = Memo(Memo(first))
    assert third.get("key", lambda: "new") == "new"


def test_what_is_kept_outlives_pushes_that_do_not_ask_but_no_other_key_in_its_place() -> None:
    made: list[str] = []

    def make(value: str) -> Callable[[], str]:
        return lambda: made.append(value) or value  # type: ignore[func-returns-value]

    memo = Memo()
    assert memo.keep("place", 1, make("a")) == "a"
    for _ in range(3):
        memo = Memo(memo)
    assert memo.keep("place", 1, make("b")) == "a"
    assert memo.keep("place", 2, make("c")) == "c"
    assert memo.keep("place", 1, make("d")) == "d"
    assert made == ["a", "c", "d"]


def test_no_more_places_are_kept_than_allowed() -> None:
    memo = Memo()
    for place in range(MOST_KEPT + 1):
        memo.keep(place, 1, lambda: "first")
    assert memo.keep(MOST_KEPT, 1, lambda: "again") == "first"
    assert memo.keep(0, 1, lambda: "again") == "again", "the least recently used had to go"
