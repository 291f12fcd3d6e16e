# SPDX-License-Identifier: Apache-2.0
"""What one push need not compute again because the push before already did.

Keys hold everything that the value depends on, so an entry is never wrong, only unused. Entries that a push does not ask for are forgotten
with the push after it; the memory is bounded by what two pushes use.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, TypeVar

V = TypeVar("V")


class Memo:
    """A cache of two generations."""

    def __init__(self, previous: Memo | None = None) -> None:
        self._current: dict[Hashable, Any] = {}
        self._previous: dict[Hashable, Any] = previous._current if previous is not None else {}

    def get(self, key: Hashable, make: Callable[[], V]) -> V:
        """The value of `key`, made at most once per change of key."""
        try:
            value: V = self._current[key]
        except KeyError:
            value = self._previous[key] if key in self._previous else make()
            self._current[key] = value
        return value

    def __len__(self) -> int:
        return len(self._current)
