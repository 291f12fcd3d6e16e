# SPDX-License-Identifier: Apache-2.0
"""What somebody may have meant who wrote a name that is not known."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Final

LONGEST: Final = 100
"""Comparing takes time by the product of the lengths, and nobody mistypes a name into a hundred characters."""


def nearest(word: str, known: Iterable[str], *, cutoff: float = 0.6) -> str | None:
    """The known name that looks most like it, if one does. `cutoff` is difflib's: 1.0 wants them equal."""
    if len(word) > LONGEST:
        return None
    return next(iter(difflib.get_close_matches(word, known, 1, cutoff)), None)
