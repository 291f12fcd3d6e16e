# SPDX-License-Identifier: Apache-2.0
"""Between table rows and values. Revisions are the truth: whatever another Galley wrote is learnt by reading those after ours."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
import structlog
from sqlalchemy import Connection, bindparam, delete, func, insert, select

from common.config.registry import UnknownKindError
from common.config.resource import DecodeError, ResourceKey, decode
from galley.store.model import Event, EventType, Origin, Stored
from galley.store.schema import resources, revisions

log = structlog.get_logger("store")

ACTIONS: Mapping[EventType, str] = {"ADDED": "create", "MODIFIED": "update", "DELETED": "delete"}
TYPES: Mapping[str, EventType] = {action: type_ for type_, action in ACTIONS.items()}


_REMOVE = delete(resources).where(
    resources.c.collection == bindparam("c"), resources.c.namespace == bindparam("ns"), resources.c.name == bindparam("n")
)


def write(connection: Connection, events: Sequence[Event]) -> None:
    """Append revisions and bring `resources` to the same state, in the caller's transaction."""
    if not events:
        return
    connection.execute(insert(revisions), [_revision_row(event) for event in events])
    last = {event.stored.key: event for event in events}
    connection.execute(_REMOVE, [{"c": key.collection, "ns": key.namespace, "n": key.name} for key in last])
    if present := [_resource_row(event.stored) for event in last.values() if event.type != "DELETED"]:
        connection.execute(insert(resources), present)


def load_all(connection: Connection) -> tuple[int, list[Stored]]:
    """Newest revision and every present object. Objects that this version cannot read stay in the database and are left out."""
    rows = connection.execute(select(resources).order_by(resources.c.revision)).mappings()
    return newest_revision(connection), [stored for row in rows if (stored := _stored(row)) is not None]


def newest_revision(connection: Connection) -> int:
    return int(connection.execute(select(func.coalesce(func.max(revisions.c.revision), 0))).scalar_one())


def newest_of_collections(connection: Connection) -> dict[str, tuple[int, str]]:
    """Collection -> its newest revision (deletions included) and that one's traceparent."""
    newest = select(func.max(revisions.c.revision)).group_by(revisions.c.collection)
    query = select(revisions.c.collection, revisions.c.revision, revisions.c.traceparent).where(revisions.c.revision.in_(newest))
    return {row.collection: (row.revision, row.traceparent) for row in connection.execute(query)}


def events_after(connection: Connection, revision: int) -> list[Event]:
    rows = connection.execute(select(revisions).where(revisions.c.revision > revision).order_by(revisions.c.revision)).mappings()
    return list(_events(rows))


def newest_events(connection: Connection, count: int) -> list[Event]:
    """The last `count` events, oldest first."""
    rows = connection.execute(select(revisions).order_by(revisions.c.revision.desc()).limit(count)).mappings().all()
    return list(_events(reversed(rows)))


def history(connection: Connection, *, collection: str, namespace: str, name: str, limit: int) -> list[Event]:
    """Events of one object (or, with empty strings, of more), newest first."""
    query = select(revisions).order_by(revisions.c.revision.desc()).limit(limit)
    for column, wanted in ((revisions.c.collection, collection), (revisions.c.namespace, namespace), (revisions.c.name, name)):
        if wanted:
            query = query.where(column == wanted)
    return list(_events(connection.execute(query).mappings()))


def event_at(connection: Connection, revision: int) -> Event | None:
    """The event that made this revision; None when there is no such revision, or when this version cannot read it."""
    found = connection.execute(select(revisions).where(revisions.c.revision == revision)).mappings()
    return next(_events(found), None)


def changed_since(connection: Connection, revision: int, *, collection: str, namespace: str, name: str) -> dict[ResourceKey, Event | None]:
    """Objects with events after `revision`, and the last event that each had until then; None when it did not exist yet."""
    column = revisions.c
    scope = [c == wanted for c, wanted in ((column.collection, collection), (column.namespace, namespace), (column.name, name)) if wanted]
    place = (column.collection, column.namespace, column.name)
    touched = connection.execute(select(*place).where(column.revision > revision, *scope).distinct()).all()
    last = select(func.max(column.revision)).where(column.revision <= revision, *scope).group_by(*place)
    before = _events(connection.execute(select(revisions).where(column.revision.in_(last))).mappings())
    states: dict[ResourceKey, Event | None] = {ResourceKey(*row): None for row in touched}
    states.update((event.stored.key, event) for event in before if event.stored.key in states)
    return states


def _events(rows: Any) -> Iterator[Event]:
    for row in rows:
        stored = _stored(row)
        if stored is not None:
            yield Event(TYPES[row["action"]], stored, row["actor"], row["at"])


def _stored(row: Any) -> Stored | None:
    body = row["body"].encode()
    try:
        resource = decode(body)
    except (DecodeError, UnknownKindError) as error:
        log.error(
            "a stored object cannot be read by this version; it is left alone",
            collection=row["collection"],
            name=f"{row['namespace']}/{row['name']}",
            reason=str(error),
        )
        return None
    return Stored(resource, body, row["revision"], msgspec.json.decode(row["origin"], type=Origin), row["traceparent"])


def _resource_row(stored: Stored) -> dict[str, Any]:
    key = stored.key
    return {
        "collection": key.collection,
        "namespace": key.namespace,
        "name": key.name,
        "revision": stored.revision,
        "body": stored.body.decode(),
        "origin": msgspec.json.encode(stored.origin).decode(),
        "traceparent": stored.traceparent,
    }


def _revision_row(event: Event) -> dict[str, Any]:
    return _resource_row(event.stored) | {"at": event.at, "action": ACTIONS[event.type], "actor": event.actor}
