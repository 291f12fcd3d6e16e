# SPDX-License-Identifier: Apache-2.0
"""Publishes a new MCP snapshot after every change. Collections that did not change keep their state object, so the cost follows the change.

Istio 1.4 waited half a second for quiet before it published. We publish at once and leave merging to the stream, which sends the newest state
when its sink is ready: a single change arrives in milliseconds, and a storm still costs one message for each ACK.
"""

from __future__ import annotations

from collections.abc import Sequence

from common.config.kinds.networking import WORKLOAD_ENTRY
from common.config.resource import encode
from common.mcp.publisher import Publisher
from common.mcp.snapshot import CollectionState, Entry
from common.telemetry.tracing import continued, tracer
from galley import metrics
from galley.store.model import Collection, Event, Place, Stored
from galley.store.store import Store
from galley.store.workloads import Workloads

WORKLOADS = WORKLOAD_ENTRY.collection


class Distributor:
    """Subscribes to the store and the workloads; the constructor publishes the first snapshot."""

    def __init__(self, store: Store, workloads: Workloads, publisher: Publisher) -> None:
        self._store, self._workloads, self._publisher = store, workloads, publisher
        self._entries: dict[str, dict[Place, Entry]] = {}
        self._states: dict[str, CollectionState] = {}
        for name, collection in store.snapshot.collections.items():
            self._states[name] = self._state(name, collection)
        self._publish_workloads()
        store.subscribe(self._on_events)
        workloads.subscribe(self._publish_workloads)

    def _on_events(self, events: Sequence[Event]) -> None:
        touched = {event.stored.key.collection for event in events}
        newest = events[-1] if events else None
        with tracer("galley").start_as_current_span(
            "galley.publish", context=continued(newest.stored.traceparent) if newest and newest.stored.traceparent else None
        ) as span:
            span.set_attribute("revision", self._store.snapshot.revision)
            for name in touched:
                self._states[name] = self._state(name, self._store.snapshot.collection(name))
            if WORKLOADS in touched:
                self._publish_workloads(self._store.snapshot.collection(WORKLOADS).traceparent)
            else:
                self._publish()

    def _publish_workloads(self, traceparent: str = "") -> None:
        """Configured entries win over registered ones of the same name. Leases come and go without a trace: only revisions have one."""
        configured = self._store.snapshot.collection(WORKLOADS)
        entries = {entry.name: entry for entry in self._entries_of(WORKLOADS, configured)}
        for resource in self._workloads.resources():
            name = resource.key.mcp_name
            if name not in entries:
                entries[name] = Entry(name, resource.metadata.resourceVersion, encode(resource))
        version = f"{WORKLOADS}/{configured.revision}+{self._workloads.version}"
        self._states[WORKLOADS] = CollectionState.of(version, entries.values(), traceparent)
        self._publish()

    def _publish(self) -> None:
        self._publisher.publish(dict(self._states))
        metrics.SNAPSHOTS_PUBLISHED.add()

    def _state(self, name: str, collection: Collection) -> CollectionState:
        metrics.INSTANCES.set(len(collection.objects), name)
        return CollectionState.of(f"{name}/{collection.revision}", self._entries_of(name, collection), collection.traceparent)

    def _entries_of(self, name: str, collection: Collection) -> list[Entry]:
        """Wire entries, made once for each stored object."""
        before = self._entries.get(name, {})
        now = {place: _entry(stored, before.get(place)) for place, stored in collection.objects.items()}
        self._entries[name] = now
        return list(now.values())


def _entry(stored: Stored, known: Entry | None) -> Entry:
    version = str(stored.revision)
    return known if known is not None and known.version == version else Entry(stored.key.mcp_name, version, stored.body)
