# SPDX-License-Identifier: Apache-2.0
"""What is wrong with a patch."""

from __future__ import annotations

from typing import Final

DEEPEST: Final = 64
"""Levels of nesting that a patch may have."""


class PatchError(ValueError):
    """The patch cannot be applied; one sentence for people, with the place in the document."""


def check_depth(depth: int) -> None:
    """Raises PatchError when a patch is nested deeper than any configuration is."""
    if depth > DEEPEST:
        raise PatchError(f"the patch is nested deeper than {DEEPEST} levels")
