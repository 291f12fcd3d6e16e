# SPDX-License-Identifier: Apache-2.0
"""Opening `citadel.db`: 0600, locked against a second Citadel, brought to the newest schema."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path

from common.database import Writer, WriterLock, create, migrate, sqlite_url
from common.identity.private_file import private_folder


@contextlib.asynccontextmanager
async def open_store(path: Path) -> AsyncIterator[Writer]:
    """The store while the block lasts. Raises StartError when another Citadel holds it: two would count one token past each other."""
    private_folder(path.parent)
    with WriterLock(path, owner="citadel") as lock:
        lock.acquire()
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        os.fchmod(descriptor, 0o600)  # SQLite gives its side files the mode of this one
        os.close(descriptor)
        async with Writer.open(create(sqlite_url(path)), name="citadel") as store:
            await store.call(lambda: migrate(store.engine, "citadel.store:migrations"))
            yield store
