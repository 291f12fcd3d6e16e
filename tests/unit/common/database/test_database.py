# SPDX-License-Identifier: Apache-2.0
"""SQLite as we use it: what is committed is durable, one process writes, work is done in order."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from sqlalchemy import Column, Integer, MetaData, Table, inspect, select, text

from common.database import Writer, WriterLock, check, create, is_sqlite, migrate, sqlite_url
from common.lifecycle.host import StartError

things = Table("things", MetaData(), Column("number", Integer, primary_key=True))


@pytest.fixture
async def writer(tmp_path: Path) -> AsyncIterator[Writer]:
    engine = create(sqlite_url(tmp_path / "new folder" / "x.db"))
    async with Writer.open(engine, name="test") as opened:
        await opened.transaction(things.create)
        yield opened


async def numbers(writer: Writer) -> list[int]:
    return await writer.transaction(lambda c: list(c.execute(select(things.c.number).order_by(things.c.number)).scalars()))


async def test_durability_settings_hold_on_every_connection(writer: Writer) -> None:
    def pragmas() -> dict[str, object]:
        with writer.engine.connect() as connection:
            return {name: connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in ("journal_mode", "synchronous", "foreign_keys")}

    assert await writer.call(pragmas) == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}
    assert is_sqlite(writer.engine)


async def test_a_transaction_that_raises_leaves_nothing(writer: Writer) -> None:
    def fails(connection: object) -> None:
        connection.execute(things.insert().values(number=1))  # type: ignore[attr-defined]
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await writer.transaction(fails)
    assert await numbers(writer) == []


async def test_work_is_done_in_the_order_asked_and_survives_its_callers_cancellation(writer: Writer) -> None:
    order: list[int] = []

    def work(number: int) -> None:
        order.append(number)

    tasks = [asyncio.create_task(writer.call(lambda n=n: work(n))) for n in range(20)]  # type: ignore[misc]
    await asyncio.sleep(0)
    tasks[10].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await writer.call(lambda: None)
    assert order == list(range(20))


async def test_the_write_lock_is_taken_at_the_beginning_of_a_transaction(writer: Writer, tmp_path: Path) -> None:
    """With a deferred BEGIN two planners could both read and then one would fail; ours wait for each other."""
    other = create(str(writer.engine.url))
    began = asyncio.Event()
    loop = asyncio.get_running_loop()

    def hold(connection: object) -> None:
        loop.call_soon_threadsafe(began.set)
        import time

        time.sleep(0.2)
        connection.execute(things.insert().values(number=1))  # type: ignore[attr-defined]

    holding = asyncio.create_task(writer.transaction(hold))
    await began.wait()

    def read_then_write() -> int:
        with other.begin() as connection:
            seen = len(connection.execute(select(things)).all())
            connection.execute(things.insert().values(number=2))
            return seen

    seen = await asyncio.to_thread(read_then_write)
    await holding
    other.dispose()
    assert seen == 1, "the second transaction began after the first had committed"


def test_other_databases_are_refused_with_a_hint() -> None:
    with pytest.raises(StartError, match="use sqlite or postgresql"):
        create("mysql://localhost/x")
    with pytest.raises(StartError, match="names no file"):
        create("sqlite://")


def test_the_second_holder_of_the_lock_is_told_who_has_it(tmp_path: Path) -> None:
    database = tmp_path / "galley.db"
    with WriterLock(database, owner="galley") as first, WriterLock(database, owner="galley") as second:
        first.acquire()
        with pytest.raises(StartError, match=rf"another galley holds .*galley.db.lock \(process {os.getpid()}\)"):
            second.acquire()
        assert (first.held, second.held) == (True, False)


async def test_standing_by_ends_when_the_holder_does_however_it_dies(tmp_path: Path) -> None:
    database = tmp_path / "galley.db"
    program = (
        "import sys, time, pathlib\nfrom common.database.lock import WriterLock\n"
        f"lock = WriterLock(pathlib.Path({str(database)!r}), owner='galley'); lock.acquire()\nprint('held', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    await asyncio.to_thread(holder.stdout.readline)
    with WriterLock(database, owner="galley") as lock:
        waiting = asyncio.create_task(lock.wait())
        await asyncio.sleep(0.15)
        assert not waiting.done()
        holder.kill()
        await asyncio.wait_for(waiting, 5)
        assert lock.held
    await asyncio.to_thread(holder.wait)


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (lambda whole: whole[: len(whole) // 2], "is damaged|cannot be used"),
        (lambda whole: whole[:4096] + bytes(4096) + whole[8192:], "is damaged|cannot be used"),
        (lambda whole: b"not what it was" * 1000, "file is not a database"),
    ],
)
def test_a_damaged_file_is_named_before_anybody_serves_from_it(tmp_path: Path, harm: Callable[[bytes], bytes], words: str) -> None:
    path = tmp_path / "galley.db"
    engine = create(sqlite_url(path))
    migrate(engine, "galley.store:migrations")
    check(engine)
    engine.dispose()
    path.write_bytes(harm(path.read_bytes()))
    engine = create(sqlite_url(path))
    with pytest.raises(StartError, match=words) as refused:
        check(engine)
    assert str(path) in str(refused.value)
    assert "restore a copy" in str(refused.value)
    engine.dispose()


def test_migrations_run_once_and_a_database_of_the_future_is_refused(tmp_path: Path) -> None:
    engine = create(sqlite_url(tmp_path / "galley.db"))
    migrate(engine, "galley.store:migrations")
    tables = set(inspect(engine).get_table_names())
    migrate(engine, "galley.store:migrations")
    assert "resources" in tables
    assert set(inspect(engine).get_table_names()) == tables
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(StartError, match="another version of Fourmast"):
        migrate(engine, "galley.store:migrations")
    engine.dispose()
