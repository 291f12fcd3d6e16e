# SPDX-License-Identifier: Apache-2.0
"""The demo's progress line and its table."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Sequence

from deploy.local.demo.row import Result

CLEAR = "\r\033[K"  # to the start of the line, and empty it


class Progress:
    """One line on a terminal that is written over; elsewhere a line for each step. On standard error, so that results can be piped."""

    def __init__(self, *, enabled: bool) -> None:
        self._enabled = enabled
        self._over = enabled and sys.stderr.isatty()

    def say(self, text: str) -> None:
        """What is being done now."""
        if self._over:
            print(f"{CLEAR}… {text[: shutil.get_terminal_size().columns - 3]}", end="", file=sys.stderr, flush=True)
        elif self._enabled:
            print(f"… {text}", file=sys.stderr, flush=True)

    def note(self, text: str) -> None:
        """Something that stays on the screen."""
        self._line(text)

    def result(self, result: Result) -> None:
        self._line(f"{'✓' if result.ok else '✗'} {result.title} ({result.seconds} s)")

    def end(self) -> None:
        if self._over:
            print(CLEAR, end="", file=sys.stderr, flush=True)

    def _line(self, text: str) -> None:
        if self._enabled:
            print(CLEAR * self._over + text, file=sys.stderr, flush=True)


WIDTHS = (34, 36, 66)


def table(results: Sequence[Result], control_plane: str, mode: str) -> str:
    """Expected against observed, wrapped to columns."""
    rule = "  ".join("-" * width for width in (2, *WIDTHS))
    lines = [f"Fourmast demo: {control_plane} control plane, interception {mode}", ""]
    lines += [
        "  ".join(("  ", *(head.ljust(width) for head, width in zip(("row", "expected", "observed"), WIDTHS, strict=True)))).rstrip(),
        rule,
    ]
    for result in results:
        cells = [
            textwrap.wrap(text, width) or [""] for text, width in zip((result.title, result.expected, result.observed), WIDTHS, strict=True)
        ]
        for index in range(max(map(len, cells))):
            mark = ("ok" if result.ok else "NO") if index == 0 else "  "
            parts = [(cell[index] if index < len(cell) else "").ljust(width) for cell, width in zip(cells, WIDTHS, strict=True)]
            lines.append("  ".join((mark, *parts)).rstrip())
    return "\n".join((*lines, rule))
