# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pilot.model.memo import Memo


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
