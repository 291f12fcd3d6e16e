# SPDX-License-Identifier: Apache-2.0
"""Decides what a set of intents changes, without I/O: ownership, optimistic locking, uid, generation, addresses, revisions.

All or nothing: the first intent that cannot be done raises, and nothing was changed. Intents are looked at in order, each seeing those before it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import cached_property
from typing import Any

import msgspec

from common.config.resource import Metadata, Resource, ResourceKey, encode
from galley.errors import AlreadyExistsError, ConflictError, NotFoundError
from galley.store.addresses import Addresses
from galley.store.model import Delete, Draft, Event, EventType, Intent, Origin, Outcome, Put, Snapshot, Stored


class Plan:
    """Intents turned into events (one for each revision) and outcomes (one for each intent)."""

    def __init__(
        self,
        snapshot: Snapshot,
        *,
        now: str,
        actor: str,
        traceparent: str,
        new_uid: Callable[[], str],
        owners: Collection[str] = (),
    ) -> None:
        """`now` is RFC 3339 in UTC with seconds; `owners` are the sources that run now, and whose objects nobody else may change."""
        self._draft = Draft(snapshot)
        self._addresses = Addresses(self._draft)
        self.events: list[Event] = []
        self.outcomes: list[Outcome] = []
        self._now, self._actor, self._traceparent, self._new_uid, self._owners = now, actor, traceparent, new_uid, owners

    def add(self, intents: Sequence[Intent]) -> Plan:
        for intent in intents:
            if isinstance(intent, Put):
                self._put(intent)
            else:
                self._delete(intent)
        return self

    @cached_property
    def snapshot(self) -> Snapshot:
        """What the plan leads to; take it after the last `add`."""
        return self._draft.freeze()

    def _put(self, intent: Put) -> None:
        key = intent.key
        current = self._draft.get(key)
        if current is None:
            if intent.must_exist:
                raise NotFoundError(f"{key} does not exist; create it first", key=key)
            if intent.expected:
                raise ConflictError(f"{key} was deleted since version {intent.expected}; read again and decide", key=key)
            metadata = _stripped(intent.resource.metadata)
            metadata = msgspec.structs.replace(metadata, uid=self._new_uid(), creationTimestamp=self._now, generation=1)
            self._record("ADDED", intent.resource, metadata, None, intent.origin)
            return
        if intent.must_exist is False:
            raise AlreadyExistsError(f"{key} exists already; replace or apply it instead", key=key)
        self._check_owner(current, intent.origin)
        _check_version(current, intent.expected)
        resource = self._addresses.given(intent.resource, current.resource)
        old = current.resource.metadata
        same_spec = _payload(resource) == _payload(current.resource)
        metadata = _stripped(resource.metadata)
        if same_spec and metadata == _stripped(old) and _same_source(intent.origin, current.origin):
            self.outcomes.append(Outcome(key, "unchanged", current))
            return
        generation = old.generation + (0 if same_spec else 1)
        metadata = msgspec.structs.replace(metadata, uid=old.uid, creationTimestamp=old.creationTimestamp, generation=generation)
        self._record("MODIFIED", resource, metadata, current.resource, intent.origin)

    def _delete(self, intent: Delete) -> None:
        key = intent.key
        current = self._draft.get(key)
        if current is None:
            if not intent.missing_ok:
                raise NotFoundError(f"{key} does not exist", key=key)
            self.outcomes.append(Outcome(key, "unchanged", None))
            return
        self._check_owner(current, intent.origin)
        _check_version(current, intent.expected)
        if intent.uid and intent.uid != current.resource.metadata.uid:
            raise ConflictError(f"{key} is another object than the one with uid {intent.uid}; read again and decide", key=key)
        self._addresses.taken(None, current.resource)
        self._commit("DELETED", current.resource, current.resource.metadata, current.origin)
        self.outcomes.append(Outcome(key, "deleted", current))

    def _record(self, type: EventType, resource: Resource[Any], metadata: Metadata, old: Resource[Any] | None, origin: Origin) -> None:
        resource = self._addresses.given(resource, old)
        self._addresses.taken(resource, old)
        stored = self._commit(type, resource, metadata, origin)
        self.outcomes.append(Outcome(stored.key, "created" if type == "ADDED" else "configured", stored))

    def _commit(self, type: EventType, resource: Resource[Any], metadata: Metadata, origin: Origin) -> Stored:
        revision = self._draft.revision + 1
        final = msgspec.structs.replace(resource, metadata=msgspec.structs.replace(metadata, resourceVersion=str(revision)))
        stored = Stored(final, encode(final), revision, origin, self._traceparent)
        event = Event(type, stored, self._actor, self._now)
        self.events.append(event)
        self._draft.apply(event)
        return stored

    def _check_owner(self, current: Stored, origin: Origin) -> None:
        owner = current.origin.owner
        if owner != origin.owner and owner in self._owners:
            place = f"the file {current.origin}" if current.origin.file else f"the source {owner!r}"
            raise ConflictError(f"{current.key} belongs to {place}; change it there", key=current.key)


def _stripped(metadata: Metadata) -> Metadata:
    """What the user decides; the rest is ours."""
    return msgspec.structs.replace(metadata, uid="", creationTimestamp="", generation=0, resourceVersion="")


def _payload(resource: Resource[Any]) -> bytes:
    return encode(msgspec.structs.replace(resource, metadata=Metadata(name="")))


def _same_source(new: Origin, old: Origin) -> bool:
    """A line that moved in its file is no change of the object; another file or owner is."""
    return (new.owner, new.file) == (old.owner, old.file) or (not new.owner and not old.owner)


def _check_version(current: Stored, expected: str) -> None:
    if expected and expected != str(current.revision):
        raise ConflictError(
            f"{current.key} is at version {current.revision}, not {expected}; read it again, redo the change and retry", key=current.key
        )


def by_key(outcomes: Sequence[Outcome]) -> dict[ResourceKey, Outcome]:
    """Last outcome of each object."""
    return {outcome.key: outcome for outcome in outcomes}
