# SPDX-License-Identifier: Apache-2.0
"""What a tracker records, and bags of strangers."""

from __future__ import annotations

import pytest

from common.expression import ExpressionError, ValueType
from mixer.attributes.bag import Referenced, Tracker, TypedBag


def test_reads_are_recorded_with_presence_and_keys() -> None:
    tracker = Tracker({"a": "x", "m": {"k": "v"}})
    assert tracker.get("a") == "x"
    assert tracker.get("b") is None
    entries = tracker.get("m")
    assert entries.get("k") == "v"
    assert entries.get("l") is None
    assert tracker.snapshot() == (
        Referenced("a", None, True), Referenced("b", None, False), Referenced("m", "k", True), Referenced("m", "l", False),
    )  # fmt: skip


def test_a_map_as_a_whole_is_not_a_reference() -> None:
    tracker = Tracker({"m": {"k": "v"}})
    assert dict(tracker.get("m").entries) == {"k": "v"}
    assert tracker.snapshot() == ()


def test_snapshots_do_not_depend_on_the_order_of_reads() -> None:
    one, other = Tracker({"a": 1}), Tracker({"a": 1})
    one.get("a"), one.get("b")
    other.get("b"), other.get("a")
    assert one.snapshot() == other.snapshot()


def test_a_value_of_another_type_fails_only_when_it_is_read() -> None:
    bag = TypedBag({"a": 5, "b": "x"}, {"a": ValueType.STRING, "b": ValueType.STRING})
    assert bag.get("b") == "x"
    assert bag.get("c") is None
    with pytest.raises(ExpressionError, match="error converting value to string: '5'"):
        bag.get("a")
