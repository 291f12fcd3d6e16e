# SPDX-License-Identifier: Apache-2.0
"""When a push may go: at once after a pause, and with at least an interval between two of a kind under load.

Istio 1.4 always waits 100 ms for more events, so a single change is never faster than that. Here the first change goes at once and only
those that follow it closely wait; what waits is merged, because whoever sends asks for the newest state at the moment of sending.
Everything here is told the time; nothing reads a clock.
"""

from __future__ import annotations

import math

INTERVAL = 0.1
"""Least seconds between two snapshots, and between two pushes of one type to one proxy."""

NEVER = math.inf


class Gate:
    """Lets one through, then none for `interval` seconds. One per type of each stream, and one for snapshots."""

    __slots__ = ("interval", "opens_at")

    def __init__(self, interval: float = INTERVAL) -> None:
        self.interval = interval
        self.opens_at = -NEVER

    def is_open(self, now: float) -> bool:
        return now >= self.opens_at

    def passed(self, now: float) -> None:
        """Something went through."""
        self.opens_at = now + self.interval


class Changes:
    """Collects changes until the next snapshot may be built: at once when idle, else when the gate opens, never two builds at a time.

    `quiet` seconds without a further change are waited for (0: not at all), but no longer than `longest` after the first one.
    """

    def __init__(self, *, interval: float = INTERVAL, quiet: float = 0.0, longest: float = 10.0) -> None:
        self._gate = Gate(interval)
        self._quiet, self._longest = quiet, longest
        self._first: float | None = None
        self._last = 0.0
        self._building = False

    def arrived(self, now: float) -> None:
        if self._first is None:
            self._first = now
        self._last = now

    def due(self) -> float:
        """When to build: a time, past or future, or NEVER."""
        if self._first is None or self._building:
            return NEVER
        return max(self._gate.opens_at, min(self._last + self._quiet, self._first + self._longest))

    def begin(self, now: float) -> float:
        """A build starts with all that has arrived. Returns when its first change came."""
        if self._first is None:
            raise RuntimeError("nothing has changed")
        first, self._first = self._first, None
        self._building = True
        self._gate.passed(now)
        return first

    def done(self) -> None:
        self._building = False


class Admission:
    """New streams a second. A storm of reconnecting proxies waits its turn instead of all being generated for at once (Istio 1.12)."""

    def __init__(self, *, rate: float, burst: float) -> None:
        self._rate, self._burst = rate, burst
        self._tokens = burst
        self._at = 0.0

    def wait(self, now: float) -> float:
        """Take a place in the line; seconds until it is reached."""
        self._tokens = min(self._burst, self._tokens + max(0.0, now - self._at) * self._rate)
        self._at = max(now, self._at)
        self._tokens -= 1
        return 0.0 if self._tokens >= 0 else -self._tokens / self._rate
