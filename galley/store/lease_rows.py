# SPDX-License-Identifier: Apache-2.0
"""Leases in their table, and the signs of life of the Galleys that hold them. All times are the database's own: hosts' clocks may differ."""

from __future__ import annotations

import functools
from collections.abc import Mapping

import msgspec
from sqlalchemy import ColumnElement, Connection, Float, delete, insert, literal_column, select, update

from common.config.kinds.networking import WorkloadEntry
from galley.store.leases import Ended, Registered
from galley.store.model import Place
from galley.store.schema import starts, workloads

Row = tuple[Registered, int]
"""A lease and the start number of the Galley that holds it."""

_NOW: ColumnElement[float] = literal_column("extract(epoch from clock_timestamp())", Float)


def load(connection: Connection) -> list[Row]:
    return [
        (
            Registered(
                namespace=row.namespace,
                name=row.name,
                spec=_spec(row.body),
                lease=row.lease,
                healthy=row.healthy,
                registered_at=row.registered_at,
                proxy_version=row.proxy_version,
            ),
            row.holder,
        )
        for row in connection.execute(select(workloads))
    ]


def save(connection: Connection, rows: Mapping[Place, Registered | Ended], *, start: int) -> None:
    """Write leases as held by this start, and remove those that ended, unless somebody else has the row by now."""
    column = workloads.c
    for (namespace, name), row in rows.items():
        gone = delete(workloads).where(column.namespace == namespace, column.name == name)
        if isinstance(row, Ended):
            gone = gone.where(column.lease == row.lease)
            connection.execute(gone.where(column.holder == start) if row.ran_out else gone)
            continue
        connection.execute(gone)
        connection.execute(
            insert(workloads).values(
                namespace=namespace,
                name=name,
                service_account=row.spec.serviceAccount,
                lease=row.lease,
                healthy=row.healthy,
                body=msgspec.json.encode(row.spec).decode(),
                registered_at=row.registered_at,
                holder=start,
                proxy_version=row.proxy_version,
            )
        )


def live(connection: Connection, start: int, *, seconds: float) -> bool:
    """Say that this start lives, and take over the leases of those that did not say so in time. True when there were some.

    PostgreSQL only. Of several Galleys that try this at once, one gets each row: the others wait for its lock and then see a living holder.
    """
    connection.execute(update(starts).where(starts.c.start == start).values(alive_until=_NOW + seconds))
    alive = select(starts.c.start).where(starts.c.alive_until > _NOW)
    return connection.execute(update(workloads).where(workloads.c.holder.not_in(alive)).values(holder=start)).rowcount > 0


def leave(connection: Connection, start: int) -> None:
    """This start ends well: the others need not wait."""
    connection.execute(update(starts).where(starts.c.start == start).values(alive_until=0.0))


@functools.lru_cache(maxsize=16_384)
def _spec(body: str) -> WorkloadEntry:
    return msgspec.json.decode(body, type=WorkloadEntry)
