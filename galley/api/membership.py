# SPDX-License-Identifier: Apache-2.0
"""What a watch with a selector tells about objects that change sides: to its client, one that no longer matches is gone.

Labels can change, so a watch over labels must know what its client has. A scope (namespace, name, what the caller may read) cannot.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from common.config.resource import Metadata
from galley.api.selectors import Test
from galley.store.model import EventType, Place


@dataclass(frozen=True, slots=True)
class Selection:
    """What a list or watch is about. `labels` is None when it selects by none."""

    scope: Test
    labels: Test | None = None

    def __call__(self, metadata: Metadata) -> bool:
        return self.scope(metadata) and (self.labels is None or self.labels(metadata))


class Membership:
    """The objects that the client of one watch has, or may have. Knows nothing, and costs nothing, without labels."""

    def __init__(self, selection: Selection) -> None:
        self._selection = selection
        self._shown: set[Place] = set()

    def begin(self, present: Iterable[Metadata], changed: Iterable[Metadata] = ()) -> None:
        """The client has what matches now, except that it may have any of those that `changed` since its version."""
        if self._selection.labels is not None:
            self._shown = {_place(metadata) for metadata in present if self._selection(metadata)}
            self._shown |= {_place(metadata) for metadata in changed if self._selection.scope(metadata)}

    def seen(self, type_: EventType, metadata: Metadata) -> EventType | None:
        """What the event is to the client; None when it is nothing to it."""
        if not self._selection.scope(metadata):
            return None
        labels, place = self._selection.labels, _place(metadata)
        if labels is None:
            return type_
        known = place in self._shown
        if type_ != "DELETED" and labels(metadata):
            self._shown.add(place)
            return type_ if known else "ADDED"
        self._shown.discard(place)
        return "DELETED" if known and type_ != "ADDED" else None


def _place(metadata: Metadata) -> Place:
    return (metadata.namespace, metadata.name)
