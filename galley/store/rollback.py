# SPDX-License-Identifier: Apache-2.0
"""What a rollback has to do, without I/O. It undoes by doing: revisions stay append-only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

from common.config.resource import ResourceKey
from galley.store.model import Delete, Event, Intent, Put, Snapshot


def restoring_intents(present: Snapshot, before: Mapping[ResourceKey, Event | None]) -> Iterator[Intent]:
    """From the last event that each object had at the time (None: none yet) to the intents that lead back there.

    Who made the object then does not own it now: it comes back as if it were written through the API. Its file and line stay, for people.
    """
    for key, event in sorted(before.items()):
        current = present.get(key)
        expected = str(current.revision) if current is not None else ""
        if event is None or event.type == "DELETED":
            if current is not None:
                yield Delete(key=key, expected=expected)
            continue
        origin = msgspec.structs.replace(event.stored.origin, owner="")
        yield Put(resource=event.stored.resource, origin=origin, expected=expected)
