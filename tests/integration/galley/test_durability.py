# SPDX-License-Identifier: Apache-2.0
"""What was acknowledged survives SIGKILL at any moment, and torn files are opened at a state that once was, or named.

FULL=1 kills 200 times in loops of a thousand writes and tears 50 copies; otherwise a sample of that.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import shutil
import time
from collections.abc import Iterator
from multiprocessing.context import ForkServerContext
from multiprocessing.reduction import DupFd
from pathlib import Path

import pytest

from common.lifecycle.host import StartError
from tests.integration.galley import killed_writer
from tests.integration.galley.killed_writer import opened, state_at, write_until_killed

FULL = bool(os.environ.get("FULL"))
KILLS, WRITES, COPIES = (200, 1_000, 50) if FULL else (15, 120, 15)
KILLS_PER_DATABASE = 10


@pytest.fixture(scope="module")
def forking() -> Iterator[ForkServerContext]:
    """A server that has imported everything and forks writers in milliseconds."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([killed_writer.__name__])
    yield context


def killed_once(forking: ForkServerContext, database: Path, chance: random.Random) -> int:
    """Let a writer run and kill it at a random point of its loop. Returns the newest revision that it said to be acknowledged."""
    reading, writing = os.pipe()
    process = forking.Process(target=write_until_killed, args=(database, DupFd(writing), WRITES * 2))
    process.start()
    os.close(writing)
    newest = 0
    with os.fdopen(reading, "rb", buffering=0) as said:
        for _ in range(chance.randrange(1, WRITES)):
            word = said.read(8)
            assert len(word) == 8, "the writer ended by itself"
            newest = int.from_bytes(word)
        time.sleep(chance.random() * 0.003)  # somewhere within the next write
        process.kill()
        process.join()
        while len(word := said.read(8)) == 8:
            newest = int.from_bytes(word)
    return newest


@pytest.mark.timeout(900)
async def test_no_acknowledged_write_is_lost_by_a_kill(forking: ForkServerContext, tmp_path: Path) -> None:
    seed = random.randrange(2**32)
    chance = random.Random(seed)
    under_way = 0
    for kill in range(KILLS):
        database = tmp_path / f"{kill // KILLS_PER_DATABASE}" / "galley.db"
        acknowledged = killed_once(forking, database, chance)
        revision, state = await opened(database)
        assert revision - acknowledged in (0, 1), f"kill {kill} of seed {seed}: acknowledged {acknowledged}, found {revision}"
        assert state == state_at(revision), f"kill {kill} of seed {seed}"
        under_way += revision - acknowledged
    assert under_way < KILLS, "some kills found a write committed whose answer was not sent; if all did, nothing was acknowledged in time"


async def test_a_torn_copy_opens_at_a_state_that_once_was_or_is_named(forking: ForkServerContext, tmp_path: Path) -> None:
    seed = random.randrange(2**32)
    chance = random.Random(seed)
    original = tmp_path / "original" / "galley.db"
    newest = max(killed_once(forking, original, chance) for _ in range(3))
    files = [path for path in original.parent.iterdir() if path.name in ("galley.db", "galley.db-wal")]
    assert len(files) == 2, "killed, so the log was not folded into the file"
    for number in range(COPIES):
        copy = tmp_path / f"copy-{number}" / "galley.db"
        shutil.copytree(original.parent, copy.parent)
        (copy.parent / "galley.db-shm").unlink(missing_ok=True)
        torn = copy.parent / files[number % 2].name
        what = tear(torn, chance)
        found = await opened_or_told(copy)
        if isinstance(found, str):
            assert str(copy) in found, f"{what} of seed {seed}"
            assert any(word in found for word in ("is damaged", "cannot be used")), f"{what} of seed {seed}: {found}"
            continue
        revision, state = found
        assert revision <= newest + 1, f"{what} of seed {seed}"
        assert state == state_at(revision), f"{what} of seed {seed}: revision {revision} of {newest}"


async def opened_or_told(database: Path) -> tuple[int, dict[str, str]] | str:
    try:
        return await opened(database)
    except StartError as error:
        return str(error)


def tear(path: Path, chance: random.Random) -> str:
    """Cut the file at a random offset, and sometimes leave a sector of noise where it went on."""
    offset = chance.randrange(path.stat().st_size)
    noise = chance.randbytes(512) if chance.random() < 0.5 else b""
    with path.open("r+b") as file:
        file.truncate(offset)
        file.seek(offset)
        file.write(noise)
    return f"{path.name} cut at {offset}" + (" with noise" if noise else "")
