# SPDX-License-Identifier: Apache-2.0
"""One thread that does all of a database's blocking work, in the order in which it was asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import TypeVar

from sqlalchemy import Connection, Engine

T = TypeVar("T")


class Writer:
    """The asyncio face of a synchronous engine. A cancelled caller does not undo its work: a transaction that began is finished."""

    def __init__(self, engine: Engine, *, name: str) -> None:
        self.engine = engine
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"{name}-writer")

    @classmethod
    @asynccontextmanager
    async def open(cls, engine: Engine, *, name: str) -> AsyncIterator[Writer]:
        """The writer; leaving waits for what was asked, then closes the engine."""
        writer = cls(engine, name=name)
        try:
            yield writer
        finally:
            await asyncio.to_thread(writer._thread.shutdown)
            engine.dispose()

    async def call(self, work: Callable[[], T]) -> T:
        """Run `work` in the writer's thread."""
        return await asyncio.shield(asyncio.get_running_loop().run_in_executor(self._thread, work))

    async def transaction(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in a transaction: committed when it returns, rolled back when it raises."""

        def run() -> T:
            with self.engine.begin() as connection:
                return work(connection)

        return await self.call(run)
