# SPDX-License-Identifier: Apache-2.0
"""One set object for all streams that subscribe to the same names.

A proxy that sees 1,000 services names all of them; 1,000 such sets would be 200 MB, and generators remember plans by the set they were asked with.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

EMPTY: frozenset[str] = frozenset()


class NameSets:
    """Interns sets of names. The least recently used are forgotten, which loses sharing and nothing else."""

    def __init__(self, most: int = 4096) -> None:
        self._most = most
        self._sets: OrderedDict[frozenset[str], frozenset[str]] = OrderedDict()

    def intern(self, names: Iterable[str]) -> frozenset[str]:
        """The one object equal to `frozenset(names)`."""
        names = frozenset(names)
        if not names:
            return EMPTY
        known = self._sets.get(names)
        if known is not None:
            self._sets.move_to_end(known)
            return known
        self._sets[names] = names
        if len(self._sets) > self._most:
            self._sets.popitem(last=False)
        return names

    def __len__(self) -> int:
        return len(self._sets)
