# SPDX-License-Identifier: Apache-2.0
"""Immutable values of the store: stored objects, the snapshot that readers see, what a writer wants and what became of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

import msgspec

from common.config.resource import Resource, ResourceKey

Action = Literal["created", "configured", "unchanged", "deleted"]
EventType = Literal["ADDED", "MODIFIED", "DELETED"]


class Origin(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where an object came from. `owner` is empty for the API; a directory source owns its objects, and only it may change them."""

    owner: str = ""
    file: str = ""
    line: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


@dataclass(frozen=True, slots=True, eq=False)
class Stored:
    """An object at one revision. `body` is its canonical JSON with complete metadata: hashed, sent and decoded everywhere as it is."""

    resource: Resource[Any]
    body: bytes = field(repr=False)
    revision: int
    origin: Origin
    traceparent: str

    @property
    def key(self) -> ResourceKey:
        return self.resource.key


UNOWNED = Origin()

Place = tuple[str, str]
"""(namespace, name) in a collection."""


@dataclass(frozen=True, slots=True, eq=False)
class Collection:
    """The objects of one kind; `revision` is that of the newest change here, deletions included."""

    revision: int
    objects: Mapping[Place, Stored]
    traceparent: str = ""


NOTHING = Collection(0, MappingProxyType({}))


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """The whole configuration after one revision."""

    revision: int
    collections: Mapping[str, Collection]

    def collection(self, name: str) -> Collection:
        return self.collections.get(name, NOTHING)

    def get(self, key: ResourceKey) -> Stored | None:
        return self.collection(key.collection).objects.get((key.namespace, key.name))

    def __iter__(self) -> Iterator[Stored]:
        for collection in self.collections.values():
            yield from collection.objects.values()

    def after(self, events: Iterable[Event]) -> Snapshot:
        """The snapshot that these events lead to. Untouched collections are shared."""
        draft = Draft(self)
        for event in events:
            draft.apply(event)
        return draft.freeze()


class Draft:
    """A snapshot that is being changed: each touched collection is copied once, however many events there are."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._base = snapshot
        self.revision = snapshot.revision
        self._changed: dict[str, dict[Place, Stored]] = {}
        self._newest: dict[str, Event] = {}

    def get(self, key: ResourceKey) -> Stored | None:
        return self.objects(key.collection).get((key.namespace, key.name))

    def objects(self, collection: str) -> Mapping[Place, Stored]:
        """The present objects; valid until the next `apply`."""
        changed = self._changed.get(collection)
        return changed if changed is not None else self._base.collection(collection).objects

    def apply(self, event: Event) -> None:
        key = event.stored.key
        objects = self._changed.get(key.collection)
        if objects is None:
            objects = self._changed[key.collection] = dict(self._base.collection(key.collection).objects)
        if event.type == "DELETED":
            objects.pop((key.namespace, key.name), None)
        else:
            objects[key.namespace, key.name] = event.stored
        self._newest[key.collection] = event
        self.revision = event.revision

    def freeze(self) -> Snapshot:
        """The snapshot as it is now. The draft ends with it: what was frozen must not change."""
        collections = dict(self._base.collections)
        for name, objects in self._changed.items():
            newest = self._newest[name]
            collections[name] = Collection(newest.revision, MappingProxyType(objects), newest.stored.traceparent)
        return Snapshot(self.revision, MappingProxyType(collections))


EMPTY = Snapshot(0, MappingProxyType({}))


@dataclass(frozen=True, slots=True, eq=False)
class Event:
    """One revision. For DELETED, `stored` is the last state, with the deletion's revision as resourceVersion."""

    type: EventType
    stored: Stored
    actor: str
    at: str

    @property
    def revision(self) -> int:
        return self.stored.revision


@dataclass(frozen=True, slots=True, kw_only=True)
class Put:
    """Create or replace an object. `must_exist` None takes both; `expected` is the resourceVersion that must be the present one."""

    resource: Resource[Any]
    origin: Origin = UNOWNED
    must_exist: bool | None = None
    expected: str = ""

    @property
    def key(self) -> ResourceKey:
        return self.resource.key


@dataclass(frozen=True, slots=True, kw_only=True)
class Delete:
    """Remove an object. `missing_ok` makes absence no error; `owner` must be that of the object."""

    key: ResourceKey
    origin: Origin = UNOWNED
    expected: str = ""
    uid: str = ""
    missing_ok: bool = False


Intent = Put | Delete


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """What became of one intent. `stored` is the object afterwards (for a deletion, before); None when there was nothing to delete."""

    key: ResourceKey
    action: Action
    stored: Stored | None
