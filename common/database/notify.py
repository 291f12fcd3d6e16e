# SPDX-License-Identifier: Apache-2.0
"""LISTEN/NOTIFY: how several Galleys on one PostgreSQL hear of each other's writes. SQLite has one writer, hence nothing to hear."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator

import structlog
from sqlalchemy import Connection, Engine, text

log = structlog.get_logger("database")

RETRY_SECONDS = 1.0


def notify(connection: Connection, channel: str, payload: str) -> None:
    """Tell listeners when this transaction commits; nothing happens on SQLite, or when it is rolled back."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_notify(:channel, :payload)"), {"channel": channel, "payload": payload})


async def listen(engine: Engine, channel: str) -> AsyncGenerator[str, None]:
    """Payloads on a channel, for ever. An empty one comes after each (re)connection, because anything may have been missed before it.

    Close it (`contextlib.aclosing`): a listener that is dropped keeps its connection until somebody collects it.
    """
    import psycopg
    from psycopg import sql

    url = engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
    while True:
        try:
            async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
                await connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel)))
                yield ""
                async with contextlib.aclosing(connection.notifies()) as notifications:
                    async for notification in notifications:
                        yield notification.payload
        except psycopg.OperationalError as error:
            log.warning("lost the notifications of the database; trying again", channel=channel, reason=str(error).strip())
        await asyncio.sleep(RETRY_SECONDS)
