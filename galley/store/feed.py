# SPDX-License-Identifier: Apache-2.0
"""The newest events, for watchers: bounded, so a watch that asks for older ones must list again."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

from galley.errors import ExpiredError
from galley.store.model import Event

KEPT = 4096


class Feed:
    """A window over the event log. Nothing here waits; who wants to takes `next_append`."""

    def __init__(self, events: Iterable[Event] = (), *, before: int = 0, newest: int = 0, kept: int = KEPT) -> None:
        """`before` is the revision before the first of `events`, `newest` that of the snapshot."""
        self._events = list(events)
        self._before = before
        self.revision = newest
        self._kept = kept
        self._wake = asyncio.Event()
        self._trim()

    def append(self, events: Sequence[Event], newest: int) -> None:
        """Take the events that led to revision `newest`, and wake who waits."""
        self._events.extend(events)
        self.revision = newest
        self._trim()
        wake, self._wake = self._wake, asyncio.Event()
        wake.set()

    def since(self, revision: int) -> list[Event]:
        """Events after `revision`. Raises ExpiredError when some of them are gone, or when the revision lies in the future."""
        if revision < self._before or revision > self.revision:
            raise ExpiredError(
                f"version {revision} is outside of the kept history ({self._before} to {self.revision}); list again and watch from there"
            )
        return [event for event in self._events if event.revision > revision]

    def next_append(self) -> asyncio.Event:
        """Set by the next `append`. Take it before calling `since`, so that nothing falls between the two."""
        return self._wake

    def _trim(self) -> None:
        excess = len(self._events) - self._kept
        if excess > self._kept // 4 or (excess > 0 and self._kept < 16):
            self._before = self._events[excess - 1].revision
            del self._events[:excess]
