# SPDX-License-Identifier: Apache-2.0
"""Says what is wrong with a database that cannot be trusted, before anybody serves from it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from common.database.engine import is_sqlite
from common.lifecycle.host import StartError

_REMEDY = "stop every process that uses it and restore a copy, or move it away to begin anew"


@contextlib.contextmanager
def opening(engine: Engine) -> Iterator[None]:
    """Errors of the database in the block become a StartError that names the database and what to do."""
    try:
        yield
    except DBAPIError as error:
        remedy = f"; {_REMEDY}" if _is_damage(error) else ""
        raise StartError(f"the database {engine.url.render_as_string()} cannot be used: {str(error.orig).strip()}{remedy}") from error


def check(engine: Engine) -> None:
    """Look at every page of a SQLite file. Raises StartError when one is missing or damaged; PostgreSQL minds its own."""
    if not is_sqlite(engine):
        return
    with opening(engine), engine.connect() as connection:
        found = list(connection.exec_driver_sql("PRAGMA quick_check(3)").scalars())
    if found != ["ok"]:
        raise StartError(f"the database {engine.url.render_as_string()} is damaged: {'; '.join(map(str, found))}; {_REMEDY}")


def _is_damage(error: DBAPIError) -> bool:
    return any(word in str(error.orig) for word in ("malformed", "not a database", "corrupt"))
