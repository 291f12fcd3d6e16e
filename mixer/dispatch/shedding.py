# SPDX-License-Identifier: Apache-2.0
"""Load shedding: refuse early what could not be answered in time. Told the time, so that tests need none.

Two evaluators, as in Istio 1.4: a rate limit (a token bucket in which a report costs its number of entries), and the average latency
(exponentially weighted), which only counts above a rate at which an average means something.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mixer.errors import Overloaded

Mode = Literal["disabled", "logonly", "enforce"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SheddingPolicy:
    """Zero turns an evaluator off. Times are in seconds, rates in requests per second."""

    mode: Mode = "disabled"
    max_requests_per_second: float = 0.0
    burst: int = 0
    average_latency: float = 0.0
    latency_half_life: float = 1.0
    latency_enforcement_rate: float = 100.0


class LoadShedder:
    """`admit` before the work, `observe` after it."""

    def __init__(self, policy: SheddingPolicy, now: float) -> None:
        self._policy = policy
        self._capacity = max(float(policy.burst), policy.max_requests_per_second)
        self._tokens, self._tokens_at = self._capacity, now
        self._latency, self._rate, self._observed_at = 0.0, 0.0, now
        self.shed = 0
        """Requests refused so far, or in logonly mode those that would have been."""

    def admit(self, cost: int, now: float) -> None:
        """Raises Overloaded when the work should not be begun."""
        if self._policy.mode == "disabled":
            return
        reason = self._too_fast(cost, now) or self._too_slow(now)
        if reason:
            self.shed += 1
            if self._policy.mode == "enforce":
                raise Overloaded(reason)

    def observe(self, latency: float, now: float) -> None:
        """Take the latency of finished work into the average."""
        elapsed = max(now - self._observed_at, 1e-6)
        weight = 1 - 0.5 ** (elapsed / self._policy.latency_half_life)
        self._latency += (latency - self._latency) * max(weight, 0.01)
        self._rate += (1 / elapsed - self._rate) * weight
        self._observed_at = now

    def _too_fast(self, cost: int, now: float) -> str:
        limit = self._policy.max_requests_per_second
        if not limit:
            return ""
        self._tokens = min(self._capacity, self._tokens + (now - self._tokens_at) * limit)
        self._tokens_at = now
        if self._tokens < min(cost, self._capacity):
            return f"more than {limit:g} requests per second"
        self._tokens -= min(cost, self._capacity)
        return ""

    def _too_slow(self, now: float) -> str:
        threshold = self._policy.average_latency
        if not threshold:
            return ""
        decayed = 0.5 ** ((now - self._observed_at) / self._policy.latency_half_life)  # nothing was observed since: forget slowly
        if self._rate * decayed < self._policy.latency_enforcement_rate or self._latency * decayed <= threshold:
            return ""
        return f"average latency {self._latency * decayed:.3f} s is above {threshold:g} s"
