# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from mixer.dispatch.shedding import LoadShedder, SheddingPolicy
from mixer.errors import Overloaded


def test_the_rate_limit_counts_the_entries_of_a_report() -> None:
    shedder = LoadShedder(SheddingPolicy(mode="enforce", max_requests_per_second=10, burst=20), 0.0)
    shedder.admit(15, 0.0)
    with pytest.raises(Overloaded, match="more than 10 requests per second"):
        shedder.admit(6, 0.0)
    shedder.admit(6, 0.1)
    with pytest.raises(Overloaded):
        shedder.admit(1, 0.1)
    shedder.admit(1000, 10.0)  # more than the bucket holds: taken when it is full, or it could never be
    assert shedder.shed == 2


def test_latency_counts_only_above_a_rate() -> None:
    shedder = LoadShedder(SheddingPolicy(mode="enforce", average_latency=0.1, latency_enforcement_rate=100), 0.0)
    for step in range(1, 20):
        shedder.observe(1.0, step * 0.1)
    shedder.admit(1, 2.0)
    for step in range(1, 2000):
        shedder.observe(1.0, 2.0 + step * 0.001)
    with pytest.raises(Overloaded, match="average latency"):
        shedder.admit(1, 4.0)
    shedder.admit(1, 14.0)  # nothing was observed for ten half-lives


def test_logonly_counts_and_admits() -> None:
    shedder = LoadShedder(SheddingPolicy(mode="logonly", max_requests_per_second=1), 0.0)
    for _ in range(3):
        shedder.admit(1, 0.0)
    assert shedder.shed == 2


def test_disabled_never_refuses() -> None:
    shedder = LoadShedder(SheddingPolicy(max_requests_per_second=1), 0.0)
    for _ in range(10):
        shedder.admit(5, 0.0)
    assert shedder.shed == 0
