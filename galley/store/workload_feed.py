# SPDX-License-Identifier: Apache-2.0
"""The newest comings and goings of registered workloads, for watchers.

Registered workloads make no revision, so the position of a watch over them has two halves: a revision of the store and a number in here.
Versions of positions are texts that clients send back as they are:

    17          revision 17, and whatever happened to workloads since that revision was the newest
    17.3.204    revision 17 and event 204 of Galley's third start
    3.9         a registered workload's own version; the position just after it got it
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec

from common.config.resource import Resource
from galley.errors import BadRequestError, ExpiredError
from galley.store.feed import KEPT
from galley.store.model import EventType, Place
from galley.store.workloads import Workloads


class Position(NamedTuple):
    """Where a watch stands: behind this revision and behind this event."""

    revision: int
    number: int


@dataclass(frozen=True, slots=True)
class WorkloadEvent:
    """One workload came, changed or went, while `position.revision` was the store's newest."""

    type: EventType
    resource: Resource[Any]
    position: Position


class WorkloadFeed:
    """A bounded window, like the store's own feed. Numbers begin with each start of Galley."""

    def __init__(self, workloads: Workloads, revision: Callable[[], int], *, start: int, kept: int = KEPT) -> None:
        """`revision` tells the store's newest; `start` is the store's number of this start."""
        self._workloads, self._revision, self._start, self._kept = workloads, revision, start, kept
        self._events: list[WorkloadEvent] = []
        self._lost = Position(revision(), 0)  # of the newest event that is not kept; who is there at the start is no event
        self._seen = self._visible()
        self._wake = asyncio.Event()
        self.number = 0
        workloads.subscribe(self._changed)

    def version(self, position: Position) -> str:
        return f"{position.revision}.{self._start}.{position.number}"

    @property
    def now(self) -> Position:
        return Position(self._revision(), self.number)

    def position(self, version: str) -> Position:
        """The position that a client names. Raises ExpiredError when it is of another start or too old, BadRequestError when it is none."""
        pieces = version.split(".")
        if not all(piece.isascii() and piece.isdigit() and len(piece) < 19 for piece in pieces) or len(pieces) > 3:
            raise BadRequestError(f"resourceVersion {version!r} cannot be read; take it from a list")
        numbers = [int(piece) for piece in pieces]
        if len(numbers) == 3 and numbers[1] == self._start:
            return Position(numbers[0], numbers[2])
        if len(numbers) == 2:
            known = (event.position for event in self._events if event.resource.metadata.resourceVersion == version)
            if (found := next(known, None)) is not None:
                return found
        if len(numbers) == 1 and numbers[0] > self._lost.revision:
            earlier = [event.position.number for event in self._events if event.position.revision < numbers[0]]
            return Position(numbers[0], earlier[-1] if earlier else self._lost.number)
        raise ExpiredError(f"what happened to workloads since version {version} is not known here; list again and watch from there")

    def since(self, number: int) -> list[WorkloadEvent]:
        """Events after `number`. Raises ExpiredError when some of them are gone or none of them can be there yet."""
        if not self._lost.number <= number <= self.number:
            raise ExpiredError(
                f"workload event {number} is outside of {self._lost.number} to {self.number}; list again and watch from there"
            )
        return [event for event in self._events if event.position.number > number]

    def next_append(self) -> asyncio.Event:
        """Set by the next event. Take it before calling `since`, so that nothing falls between the two."""
        return self._wake

    def at(self, event: WorkloadEvent) -> Resource[Any]:
        """The event's workload with the event's position as its version, so that a watch can go on from there."""
        metadata = msgspec.structs.replace(event.resource.metadata, resourceVersion=self.version(event.position))
        return msgspec.structs.replace(event.resource, metadata=metadata)

    def _visible(self) -> dict[Place, Resource[Any]]:
        return {(resource.namespace, resource.name): resource for resource in self._workloads.resources()}

    def _changed(self) -> None:
        before, self._seen = self._seen, self._visible()
        for place in before.keys() - self._seen.keys():
            self._append("DELETED", before[place])
        for place, resource in self._seen.items():
            if (old := before.get(place)) is None:
                self._append("ADDED", resource)
            elif old.metadata.resourceVersion != resource.metadata.resourceVersion:
                self._append("MODIFIED", resource)
        if (excess := len(self._events) - self._kept) > 0:
            self._lost = self._events[excess - 1].position
            del self._events[:excess]
        wake, self._wake = self._wake, asyncio.Event()
        wake.set()

    def _append(self, type_: EventType, resource: Resource[Any]) -> None:
        self.number += 1
        self._events.append(WorkloadEvent(type_, resource, self.now))
