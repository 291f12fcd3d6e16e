# SPDX-License-Identifier: Apache-2.0
"""Engines with the settings that durability needs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import sqlalchemy
from sqlalchemy import Engine, event
from sqlalchemy.engine import URL, make_url

from common.lifecycle.host import StartError


def sqlite_url(path: Path) -> str:
    return URL.create("sqlite", database=str(path)).render_as_string(hide_password=False)


def is_sqlite(engine: Engine) -> bool:
    return engine.dialect.name == "sqlite"


def create(url: str) -> Engine:
    """An engine for `sqlite:///…` (WAL, synchronous=FULL, every transaction takes the write lock at once) or `postgresql://…` (psycopg).

    Raises StartError for any other database, and when the PostgreSQL driver is not installed.
    """
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        if not parsed.database:
            raise StartError("the SQLite URL names no file; write sqlite:///path/to/galley.db")
        Path(parsed.database).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return _sqlite(parsed)
    if parsed.get_backend_name() == "postgresql":
        try:
            return sqlalchemy.create_engine(parsed.set(drivername="postgresql+psycopg"), pool_pre_ping=True, pool_size=2, max_overflow=2)
        except ModuleNotFoundError as error:
            raise StartError("PostgreSQL needs the extra 'postgres' (psycopg); install it or use SQLite") from error
    raise StartError(f"database {parsed.get_backend_name()!r} is not supported; use sqlite or postgresql")


def _sqlite(url: URL) -> Engine:
    engine = sqlalchemy.create_engine(url, connect_args={"timeout": 5.0, "check_same_thread": False})

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _: Any) -> None:
        connection.isolation_level = None  # we say BEGIN ourselves: sqlite3 would begin late and read before it locks
        cursor = connection.cursor()
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=5000"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def begin(connection: sqlalchemy.Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine
