# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from common.expression.functions import new_pattern
from mixer.api.comparisons import BURST, MOST_PATTERNS, REFILL, Comparer
from tests.unit.mixer.api.four_workloads import RATINGS, REVIEWS


class Slow:
    """A clock, and a compiler that takes `cost` seconds of it."""

    def __init__(self, cost: float) -> None:
        self.now, self.cost = 100.0, cost

    def compiling(self, text: str) -> object:
        self.now += self.cost
        return new_pattern(text)

    def comparer(self) -> Comparer:
        return Comparer(clock=lambda: self.now, compiling=self.compiling)


def test_all_of_the_value_must_match() -> None:
    asked = [("a+", "aaa"), ("a+", "aab"), ("(", "(")]
    assert Comparer().compare(asked, RATINGS) == (("a+", "aaa", True), ("a+", "aab", False), ("(", "(", False))


def test_compiling_is_paid_for_by_who_asks() -> None:
    slow = Slow(0.2)
    comparer = slow.comparer()
    many = [(f"a{number}", "a") for number in range(20)]
    assert comparer.compare(many, RATINGS) is None
    assert slow.now - 100.0 < BURST + slow.cost
    assert comparer.compare([("new", "new")], RATINGS) is None
    assert comparer.compare([("new", "new")], REVIEWS) == (("new", "new", True),), "others have their own share"
    assert comparer.compare([("new", "x")], RATINGS) == (("new", "x", False),), "and what is there costs nothing"


def test_the_share_comes_back() -> None:
    slow = Slow(0.2)
    comparer = slow.comparer()
    assert comparer.compare([(f"a{number}", "a") for number in range(20)], RATINGS) is None
    slow.now += BURST / REFILL
    assert comparer.compare([("b", "b")], RATINGS) == (("b", "b", True),)


def test_patterns_are_bounded() -> None:
    slow = Slow(0.0)
    comparer = slow.comparer()
    asked = [(f"a{number}", f"a{number}") for number in range(3 * MOST_PATTERNS)]
    assert comparer.compare(asked, RATINGS) == tuple((text, value, True) for text, value in asked)
    assert len(comparer._patterns) == MOST_PATTERNS
