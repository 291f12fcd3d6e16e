# SPDX-License-Identifier: Apache-2.0
"""Durations in the two spellings that users know."""

from __future__ import annotations

import pytest

from common.config.duration import DurationError, seconds


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("7s", 7),
        ("0.5s", 0.5),
        ("1.000340012s", 1.000340012),
        ("500ms", 0.5),
        ("1m30s", 90),
        ("2h", 7200),
        ("0s", 0),
        ("0", 0),
        ("-1s", -1),
        (".5s", 0.5),
    ],
)
def test_lengths(text: str, value: float) -> None:
    assert seconds(text) == pytest.approx(value)


@pytest.mark.parametrize("text", ["", "5", "s", "5 s", "5x", "1s2", "--1s", "1d", "9999999999999s", "1e3s"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(DurationError):
        seconds(text)
