# SPDX-License-Identifier: Apache-2.0
"""Texts of values, and the way back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.expression.types import ValueType
from common.expression.values import Duration, Timestamp, fits, parse_duration, parse_timestamp, text_of


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [
        (0, "0s"),
        (1, "1ns"),
        (1500, "1.5µs"),
        (5_000_000, "5ms"),
        (1_500_000_000, "1.5s"),
        (61 * 10**9, "1m1s"),
        (3600 * 10**9, "1h0m0s"),
        (-90 * 10**9, "-1m30s"),
    ],
)
def test_durations_are_written_as_go_does(nanoseconds: int, text: str) -> None:
    assert str(Duration(nanoseconds)) == text


@given(st.integers(-(2**62), 2**62))
def test_a_written_duration_is_read_back(nanoseconds: int) -> None:
    assert parse_duration(str(Duration(nanoseconds))) == nanoseconds


@given(st.integers(-62135596800 * 10**9, 253402300799 * 10**9))
def test_a_written_instant_is_read_back(nanoseconds: int) -> None:
    assert parse_timestamp(str(Timestamp(nanoseconds))) == nanoseconds


@pytest.mark.parametrize("text", ["", "5", "1d", "s", "1h 2m", "--1s", "9999999h", "1.5.5s", "٣s"])
def test_what_is_no_duration(text: str) -> None:
    assert parse_duration(text) is None


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("x", "x"),
        (5, "5"),
        (True, "true"),
        (bytes([10, 0, 0, 1]), "10.0.0.1"),
        (bytes(10) + b"\xff\xff\x0a\x00\x00\x01", "10.0.0.1"),
        (bytes(15) + b"\x01", "::1"),
        (b"abc", "?616263"),
        ({"b": "2", "a": "1"}, "a=1&b=2"),
        (Duration(5_000_000), "5ms"),
        (Timestamp(0), "1970-01-01T00:00:00Z"),
    ],
)
def test_label_texts(value: object, text: str) -> None:
    assert text_of(value) == text  # type: ignore[arg-type]


def test_a_duration_is_no_integer_and_a_bool_is_neither() -> None:
    assert not fits(Duration(5), ValueType.INT64)
    assert not fits(5, ValueType.DURATION)
    assert not fits(True, ValueType.INT64)
    assert fits(5, ValueType.INT64)
