# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from citadel.api import rate
from citadel.api.rate import RateLimiter
from citadel.errors import RateError


def admitted(limiter: RateLimiter, peer: str, now: float, tries: int) -> int:
    count = 0
    for _ in range(tries):
        try:
            limiter.admit(peer, now)
            count += 1
        except RateError:
            pass
    return count


def test_a_peer_has_a_burst_then_its_rate_and_others_do_not_suffer() -> None:
    limiter = RateLimiter(per_peer=2, total=1000)
    assert admitted(limiter, "10.0.0.1", 100.0, 50) == 20
    assert admitted(limiter, "10.0.0.1", 101.0, 50) == 2
    assert admitted(limiter, "10.0.0.2", 101.0, 50) == 20
    assert admitted(limiter, "10.0.0.1", 1000.0, 50) == 20


def test_all_together_have_a_limit_too() -> None:
    limiter = RateLimiter(per_peer=2, total=3)
    assert sum(admitted(limiter, str(peer), 100.0, 5) for peer in range(20)) == 30
    with pytest.raises(RateError):
        limiter.admit("new", 100.0)
    limiter.admit("new", 101.0)


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate, "MOST_PEERS", 10)
    limiter = RateLimiter(per_peer=1000, total=10_000)
    for peer in range(100):
        limiter.admit(str(peer), 1.0)
    assert len(limiter._peers) == 10
