# SPDX-License-Identifier: Apache-2.0
"""Buckets told the time."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from common.mcp.limit import TokenBucket


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_burst_then_the_rate() -> None:
    clock = Clock()
    bucket = TokenBucket(rate=2.0, burst=3, clock=clock)
    assert [bucket.take() for _ in range(4)] == [True, True, True, False]
    clock.now += 0.5
    assert [bucket.take() for _ in range(2)] == [True, False]
    clock.now += 1000
    assert [bucket.take() for _ in range(4)] == [True, True, True, False], "no more is saved up than the burst"


@given(st.lists(st.floats(0, 2), min_size=1, max_size=60))
def test_who_waits_as_told_keeps_the_rate(pauses: list[float]) -> None:
    clock = Clock()
    bucket = TokenBucket(rate=5.0, burst=2, clock=clock)
    begin = clock.now
    for served, pause in enumerate(pauses, 1):
        clock.now += bucket.wait()
        assert served <= 2 + 5.0 * (clock.now - begin) + 1e-6
        clock.now += pause
