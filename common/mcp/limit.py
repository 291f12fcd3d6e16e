# SPDX-License-Identifier: Apache-2.0
"""A token bucket told the time: how often something may happen, with a burst for honest beginnings."""

from __future__ import annotations

from collections.abc import Callable


class TokenBucket:
    """`rate` tokens a second, at most `burst` saved up; it begins full."""

    def __init__(self, *, rate: float, burst: int, clock: Callable[[], float]) -> None:
        """`clock` is monotonic, in seconds."""
        self._rate, self._burst, self._clock = rate, burst, clock
        self._tokens, self._at = float(burst), clock()

    def take(self) -> bool:
        """Take a token if there is one."""
        self._refill()
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    def wait(self) -> float:
        """Take a token, perhaps of the future. Returns the seconds until it is due: sleep so long before going on."""
        self._refill()
        self._tokens -= 1
        return max(0.0, -self._tokens / self._rate)

    def _refill(self) -> None:
        now = self._clock()
        self._tokens = min(float(self._burst), self._tokens + (now - self._at) * self._rate)
        self._at = now
