# SPDX-License-Identifier: Apache-2.0
"""Regular expressions that a filter cannot compare itself, compared for it, without letting it buy Mixer's time.

The patterns come with the question. Routes take them from QuotaSpecs, but whoever holds a certificate of the mesh can send others, and one
pattern of a thousand characters can take RE2 a third of a second and five megabytes. So the seconds that compiling took are charged to the
caller, and what it had compiled is kept apart from the patterns of the configuration.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from common.expression import ExpressionError
from common.expression.functions import new_pattern
from common.identity.spiffe import SpiffeId

BURST: Final = 0.5  # seconds of compiling that a caller may have at once
REFILL: Final = 0.01  # seconds of compiling for each second that passes
MOST_PATTERNS: Final = 128
MOST_CALLERS: Final = 10_000

Comparison = tuple[str, str]


@dataclass(slots=True)
class _Account:
    left: float
    since: float


class Comparer:
    """Compares, and keeps the last patterns and what each caller has left. `clock` is monotonic, in seconds."""

    def __init__(self, *, clock: Callable[[], float] = time.perf_counter, compiling: Callable[[str], Any] = new_pattern) -> None:
        self._clock, self._compiling = clock, compiling
        self._patterns: OrderedDict[str, Any] = OrderedDict()
        self._accounts: OrderedDict[SpiffeId, _Account] = OrderedDict()

    def compare(self, comparisons: Sequence[Comparison], caller: SpiffeId) -> tuple[tuple[str, str, bool], ...] | None:
        """Whether each pattern matches all of its value; None when the caller has had its share of Mixer's time. One that cannot be
        compiled matches nothing: Galley refuses it before it comes here."""
        found = []
        for text, value in comparisons:
            if text not in self._patterns and not self._compile(text, caller):
                return None
            self._patterns.move_to_end(text)
            pattern = self._patterns[text]
            found.append((text, value, pattern is not None and pattern.fullmatch(value) is not None))
        return tuple(found)

    def _compile(self, text: str, caller: SpiffeId) -> bool:
        began = self._clock()
        account = self._accounts.pop(caller, None) or _Account(BURST, began)
        self._accounts[caller] = account
        if len(self._accounts) > MOST_CALLERS:
            self._accounts.popitem(last=False)
        account.left = min(BURST, account.left + (began - account.since) * REFILL)
        account.since = began
        if account.left <= 0:
            return False
        try:
            self._patterns[text] = self._compiling(text)
        except ExpressionError:
            self._patterns[text] = None
        account.left -= self._clock() - began
        if len(self._patterns) > MOST_PATTERNS:
            self._patterns.popitem(last=False)
        return True
