# SPDX-License-Identifier: Apache-2.0
"""A process that writes one resource after another and says each one that was acknowledged, until somebody kills it."""

from __future__ import annotations

import asyncio
import logging
import os
from pathlib import Path
from typing import Any

import structlog

from common.database import Writer, check, create, migrate, opening, sqlite_url
from galley.store.model import Put
from galley.store.store import MIGRATIONS, Store
from tests.unit.galley.store.worlds import virtual_service

NAMES = 40
"""How many objects the writes go round; each write of one changes it."""


def host(revision: int) -> str:
    """What the write that makes this revision says, so that every state can be told from its revision alone."""
    return f"host-{revision}.example.com"


def name(revision: int) -> str:
    return f"v{revision % NAMES}"


def state_at(revision: int) -> dict[str, str]:
    """Hosts by name after this revision, when every revision is a write of the loop."""
    return {name(r): host(r) for r in range(max(1, revision - NAMES + 1), revision + 1)}


async def opened(database: Path) -> tuple[int, dict[str, str]]:
    """The revision and the state that a Galley starting on this database would serve. Raises StartError as it would."""
    engine = create(sqlite_url(database))
    async with Writer.open(engine, name="test") as writer:
        with opening(engine):
            await writer.call(lambda: check(engine))
            await writer.call(lambda: migrate(engine, MIGRATIONS))
            store = await Store.open(writer)
        return store.snapshot.revision, {s.key.name: s.resource.spec.hosts[0] for s in store.snapshot}


def write_until_killed(database: Path, answers: Any, writes: int) -> None:
    """Write `writes` times; each acknowledged revision goes to `answers` (a descriptor on its way between processes) as eight bytes."""
    logging.disable()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    acknowledged = answers.detach()

    async def run() -> None:
        engine = create(sqlite_url(database))
        async with Writer.open(engine, name="test") as writer:
            await writer.call(lambda: migrate(engine, MIGRATIONS))
            store = await Store.open(writer)
            os.write(acknowledged, store.snapshot.revision.to_bytes(8))
            for _ in range(writes):
                revision = store.snapshot.revision + 1
                await store.write([Put(resource=virtual_service(name(revision), host(revision)))], actor="x")
                os.write(acknowledged, store.snapshot.revision.to_bytes(8))

    asyncio.run(run())
