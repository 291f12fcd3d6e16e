# SPDX-License-Identifier: Apache-2.0
"""What one push need not compute again because the push before already did.

Keys hold everything that the value depends on, so an entry is never wrong, only unused. Entries that a push does not ask for are forgotten
with the push after it; the memory is bounded by what two pushes use. What is dear and rarely asked for is *kept* beyond that, one value for
each place.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, TypeVar

V = TypeVar("V")

MOST_KEPT = 1024  # places; the least recently used goes


class Memo:
    """A cache of two generations."""

    def __init__(self, previous: Memo | None = None) -> None:
        self._current: dict[Hashable, Any] = {}
        self._previous: dict[Hashable, Any] = previous._current if previous is not None else {}
        self._kept: dict[Hashable, tuple[Hashable, Any]] = previous._kept if previous is not None else {}

    def get(self, key: Hashable, make: Callable[[], V]) -> V:
        """The value of `key`, made at most once per change of key."""
        try:
            value: V = self._current[key]
        except KeyError:
            value = self._previous[key] if key in self._previous else make()
            self._current[key] = value
        return value

    def intern(self, value: V) -> V:
        """The one object among those equal to `value` that this push or the one before met: equal bytes need be kept once."""
        return self.get(("interned", value), lambda: value)

    def keep(self, place: Hashable, key: Hashable, make: Callable[[], V]) -> V:
        """The value of `key`, however many pushes ago it was asked for, unless the place was given another key since.

        All pushes share what is kept, and two threads may ask at once: at worst a value is made twice.
        """
        known = self._kept.pop(place, None)
        if known is None or known[0] != key:
            known = (key, make())
        self._kept[place] = known
        if len(self._kept) > MOST_KEPT:
            self._kept.pop(list(self._kept)[0], None)  # noqa: RUF015 - one step, so that the other thread cannot disturb it
        value: V = known[1]
        return value

    def __len__(self) -> int:
        return len(self._current)
