# SPDX-License-Identifier: Apache-2.0
"""Moves the schema by hand: back, before an older Fourmast is installed again."""

from __future__ import annotations

import contextlib
from pathlib import Path

from common.database import WriterLock, create, is_sqlite, migrate, opening
from common.database.migrations import version
from galley.store.store import MIGRATIONS


def move(url: str, to: str) -> tuple[str, str]:
    """Version before and after. Raises StartError when a Galley holds the database, or when there is no way to `to`."""
    engine = create(url)
    with contextlib.ExitStack() as stack:
        stack.callback(engine.dispose)
        if is_sqlite(engine) and engine.url.database:
            stack.enter_context(WriterLock(Path(engine.url.database), owner="galley")).acquire()
        with opening(engine):
            before = version(engine)
            migrate(engine, MIGRATIONS, to=to)
            return before, version(engine)
