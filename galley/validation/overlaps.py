# SPDX-License-Identifier: Apache-2.0
"""Which names of a list cover one another, found by sorting: comparing all pairs took seconds for a list that fits into one request."""

from __future__ import annotations

from collections.abc import Sequence


def overlaps(keys: Sequence[tuple[str, bool]]) -> list[tuple[int, int]]:
    """Pairs (later, earlier) of indexes. A key that is open covers every key that begins with it; others cover only their equals.

    Each key is paired at most once with one that covers it, so a list of equals gives a pair for each but the first.
    """
    order = sorted(range(len(keys)), key=lambda index: (keys[index][0], not keys[index][1], index))
    covering: list[int] = []  # open keys, each of which begins with those before it
    previous: int | None = None
    pairs = []
    for index in order:
        key, is_open = keys[index]
        while covering and not key.startswith(keys[covering[-1]][0]):
            covering.pop()
        if covering:
            pairs.append((index, covering[-1]))
        elif previous is not None and keys[previous][0] == key:
            pairs.append((index, previous))
        if is_open:
            covering.append(index)
        previous = index
    return sorted((max(pair), min(pair)) for pair in pairs)
