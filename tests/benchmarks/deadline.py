# SPDX-License-Identifier: Apache-2.0
"""A benchmark never hangs: it ends in time and says what it could not measure."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable
from types import FrameType


class Late(Exception):
    """Not a TimeoutError: that one is an OSError, which networking code takes for its own."""


class Deadline:
    """For the main thread. Parts that fail or take too long are told and left out; `close` fails if there was one."""

    def __init__(self, seconds: float) -> None:
        self._ends = time.monotonic() + seconds
        self.failures: list[str] = []

    def run(self, name: str, part: Callable[[], object], *, seconds: float) -> None:
        """Do one part within `seconds`, or in what is left of the whole."""
        left = min(seconds, self._ends - time.monotonic())
        if left <= 0:
            self._fail(name, "no time is left for it")
            return

        def late(number: int, frame: FrameType | None) -> None:
            raise Late(f"not done within {left:.0f} s")

        before = signal.signal(signal.SIGALRM, late)
        signal.setitimer(signal.ITIMER_REAL, left)
        try:
            part()
        except Exception as error:  # the others are measured all the same
            self._fail(name, f"{type(error).__name__}: {error}")
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)

    def _fail(self, name: str, reason: str) -> None:
        self.failures.append(f"{name}: {reason}")
        print(f"# {name} was not measured: {reason}", file=sys.stderr, flush=True)

    def close(self) -> None:
        if self.failures:
            raise RuntimeError("; ".join(self.failures))
