# SPDX-License-Identifier: Apache-2.0
"""The arithmetic of quota, without clock or I/O: counters are told what time it is.

The rolling window is Istio 1.4's: time in ticks of 100 ms, a slot for each tick of the window, and what a slot consumed comes back when it
leaves the window. So "2 per 5 s" means 2 in any 5 seconds, to within a tick.
"""

from __future__ import annotations

import math
from typing import Protocol

TICK = 0.1  # seconds


class Counter(Protocol):
    """Tokens of one key. `now` is in seconds of a clock that never goes back."""

    def take(self, amount: int, now: float) -> int:
        """Take up to `amount`; returns what was taken."""
        ...

    def available(self, now: float) -> int: ...

    def give_back(self, amount: int, now: float) -> int:
        """Return up to `amount` taken before; returns what was accepted."""
        ...


class Cell:
    """A counter that never refills: tokens come back only when they are released."""

    def __init__(self, limit: int) -> None:
        self._limit, self._left = limit, limit

    def available(self, now: float) -> int:
        return self._left

    def take(self, amount: int, now: float) -> int:
        taken = min(amount, self._left)
        self._left -= taken
        return taken

    def give_back(self, amount: int, now: float) -> int:
        returned = min(amount, self._limit - self._left)
        self._left += returned
        return returned


class RollingWindow:
    """`limit` tokens in any `seconds` seconds (rounded up to whole seconds)."""

    def __init__(self, limit: int, seconds: float) -> None:
        self._slots = [0] * (math.ceil(seconds) * round(1 / TICK))
        self._left = limit
        self._tick = -1

    def available(self, now: float) -> int:
        self._roll(now)
        return self._left

    def take(self, amount: int, now: float) -> int:
        self._roll(now)
        taken = min(amount, self._left)
        self._slots[self._tick % len(self._slots)] += taken
        self._left -= taken
        return taken

    def give_back(self, amount: int, now: float) -> int:
        """Newest first, because what is old comes back by itself soonest."""
        self._roll(now)
        returned = 0
        for age in range(len(self._slots)):
            slot = (self._tick - age) % len(self._slots)
            part = min(amount - returned, self._slots[slot])
            self._slots[slot] -= part
            returned += part
        self._left += returned
        return returned

    def _roll(self, now: float) -> None:
        tick = max(math.floor(now / TICK), self._tick)
        if self._tick >= 0:
            for passed in range(self._tick + 1, min(tick, self._tick + len(self._slots)) + 1):
                slot = passed % len(self._slots)
                self._left += self._slots[slot]
                self._slots[slot] = 0
        self._tick = tick
