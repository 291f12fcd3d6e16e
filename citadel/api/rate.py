# SPDX-License-Identifier: Apache-2.0
"""Token buckets before any cryptography: an unauthenticated caller must not be able to buy signatures, or their checking, with packets."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from citadel.errors import RateError

MOST_PEERS = 10_000  # beyond this the one longest silent is forgotten, which gives it a full bucket


@dataclass(slots=True)
class Bucket:
    """`level` tokens at time `since`; it refills at a rate, up to a burst."""

    level: float
    since: float

    def take(self, now: float, *, rate: float, burst: float) -> bool:
        self.level = min(burst, self.level + (now - self.since) * rate)
        self.since = now
        if self.level < 1:
            return False
        self.level -= 1
        return True


class RateLimiter:
    """One bucket for each peer address and one for all. Rates are calls a second; a burst is ten seconds' worth."""

    def __init__(self, *, per_peer: float, total: float) -> None:
        self._per_peer, self._total = per_peer, total
        self._all = Bucket(total * 10, 0.0)
        self._peers: OrderedDict[str, Bucket] = OrderedDict()

    def admit(self, peer: str, now: float) -> None:
        """Count one call from `peer` (an address without its port) at `now` (seconds, monotonic). Raises RateError when it is one too many."""
        bucket = self._peers.pop(peer, None) or Bucket(self._per_peer * 10, now)
        self._peers[peer] = bucket
        if len(self._peers) > MOST_PEERS:
            self._peers.popitem(last=False)
        if not bucket.take(now, rate=self._per_peer, burst=self._per_peer * 10):
            raise RateError("RATE", "too many requests from this address; try again in a moment")
        if not self._all.take(now, rate=self._total, burst=self._total * 10):
            raise RateError("RATE", "too many requests; try again in a moment")
