# SPDX-License-Identifier: Apache-2.0
"""Give memory back when it is quiet again.

A crowd of proxies that connects at once is sent a gigabyte, in buffers of all sizes. When it has been served, the C library keeps
most of that for later, and what fell into reference cycles stays until Python happens to look: 450 MB with 1,000 proxies.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable

from pilot.api.memory import give_back

CROWD = 100
"""Proxies come or gone that make it worth looking for cycles, which takes 0.1 s in which nothing else happens."""
QUIET = 3.0  # seconds


class Rest:
    """Told what happens, it acts when nothing has happened for a while. `forget` drops what can be made again."""

    def __init__(self, forget: Callable[[], None], *, collect: Callable[[], object] = gc.collect, quiet: float = QUIET) -> None:
        self._forget, self._collect, self._quiet = forget, collect, quiet
        self._moved = 0
        self._busy_at: float | None = None

    def disturbed(self, now: float, *, proxies: int = 0) -> None:
        """Something was made or sent, or proxies came or went."""
        self._busy_at = now
        self._moved += proxies

    async def look(self, now: float) -> bool:
        """Whether it was time to act."""
        if self._busy_at is None or now - self._busy_at < self._quiet:
            return False
        self._busy_at = None
        self._forget()
        if self._moved >= CROWD:
            self._moved = 0
            gc.unfreeze()
            self._collect()
            gc.freeze()  # who is connected now stays for long
        await asyncio.to_thread(give_back)
        return True
