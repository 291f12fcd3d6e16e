# SPDX-License-Identifier: Apache-2.0
"""Exactly one process writes to a SQLite database: it holds a lock file for as long as it lives, however it dies."""

from __future__ import annotations

import asyncio
import fcntl
import os
from pathlib import Path
from types import TracebackType

from common.lifecycle.host import StartError

POLL_SECONDS = 0.05


class WriterLock:
    """An flock on `<database>.lock`. The kernel releases it when its holder ends, so a crash never leaves it behind."""

    def __init__(self, database: Path, *, owner: str) -> None:
        """`owner` is how the holder is called in messages, for example "galley"."""
        self._path = database.with_name(database.name + ".lock")
        self._owner = owner
        self._descriptor: int | None = None

    @property
    def held(self) -> bool:
        return self._descriptor is not None

    def acquire(self) -> None:
        """Take the lock now. Raises StartError naming the process that has it."""
        if not self._try():
            raise StartError(
                f"another {self._owner} holds {self._path} (process {self._holder()}); end it, use another state directory, or start standing by"
            )

    async def wait(self) -> None:
        """Stand by until the lock is free, and take it."""
        while not self._try():  # noqa: ASYNC110 - the lock is another process's, no event of ours tells
            await asyncio.sleep(POLL_SECONDS)

    def release(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> WriterLock:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.release()

    def _try(self) -> bool:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        self._descriptor = descriptor
        return True

    def _holder(self) -> str:
        try:
            return self._path.read_text().strip() or "unknown"
        except OSError:
            return "unknown"
