# SPDX-License-Identifier: Apache-2.0
"""Publishes a new MCP snapshot after every change. Collections that did not change keep their state object, so the cost follows the change.

Istio 1.4 waited half a second for quiet before it published. We publish at once and leave merging to the stream, which sends the newest state
when its sink is ready: a single change arrives in milliseconds, and a storm still costs one message for each ACK.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence

from common.config.kinds.networking import WORKLOAD_ENTRY
from common.config.resource import encode
from common.mcp.publisher import Publisher
from common.mcp.snapshot import CollectionState, Entry
from common.telemetry.tracing import continued, tracer
from galley import metrics
from galley.distribution.translation import IngressTranslation
from galley.store.model import Event, Stored
from galley.store.store import Store
from galley.store.workloads import Workloads

WORKLOADS = WORKLOAD_ENTRY.collection


class Distributor:
    """Subscribes to the store and the workloads; the constructor publishes the first snapshot."""

    def __init__(self, store: Store, workloads: Workloads, publisher: Publisher) -> None:
        self._store, self._workloads, self._publisher = store, workloads, publisher
        self._configured: dict[str, dict[str, Entry]] = {}
        """Of each collection, by MCP name; replaced and never changed, because published states hold it."""
        self._states: dict[str, CollectionState] = {}
        self._translation = IngressTranslation(store)
        self._translation.update()
        for name in self._translation.entries:
            self._take(name, {})
        for name, collection in store.snapshot.collections.items():
            self._take(name, {stored.key.mcp_name: _entry(stored) for stored in collection.objects.values()})
        self._publish_workloads()
        store.subscribe(self._on_events)
        workloads.subscribe(self._publish_workloads)

    def _on_events(self, events: Sequence[Event]) -> None:
        touched: dict[str, dict[str, Entry]] = {}
        for event in events:
            key = event.stored.key
            if key.collection not in touched:
                touched[key.collection] = dict(self._configured.get(key.collection, {}))
            if event.type == "DELETED":
                touched[key.collection].pop(key.mcp_name, None)
            else:
                touched[key.collection][key.mcp_name] = _entry(event.stored)
        newest = events[-1] if events else None
        with tracer("galley").start_as_current_span(
            "galley.publish", context=continued(newest.stored.traceparent) if newest and newest.stored.traceparent else None
        ) as span:
            span.set_attribute("revision", self._store.snapshot.revision)
            derived = self._translation.update() if self._translation.depends_on(touched) else ()
            for name in (*touched, *(name for name in derived if name not in touched)):
                self._take(name, touched[name] if name in touched else self._configured.get(name, {}))
            if WORKLOADS in touched:
                self._publish_workloads(self._store.snapshot.collection(WORKLOADS).traceparent)
            else:
                self._publish()

    def _publish_workloads(self, traceparent: str = "") -> None:
        """Configured entries win over registered ones of the same name. Leases come and go without a trace: only revisions have one."""
        configured = self._store.snapshot.collection(WORKLOADS)
        entries = dict(self._configured.get(WORKLOADS, {}))
        for resource in self._workloads.resources():
            name = resource.key.mcp_name
            if name not in entries:
                entries[name] = Entry(name, resource.metadata.resourceVersion, encode(resource))
        version = f"{WORKLOADS}/{configured.revision}+{self._workloads.version}"
        self._states[WORKLOADS] = CollectionState(version, entries, traceparent)
        self._publish()

    def _publish(self) -> None:
        self._publisher.publish(dict(self._states))
        metrics.SNAPSHOTS_PUBLISHED.add()

    def _take(self, name: str, entries: dict[str, Entry]) -> None:
        collection = self._store.snapshot.collection(name)
        self._configured[name] = entries
        if name in self._translation.entries:
            entries = {**self._translation.entries[name], **entries}
        revision = max(collection.revision, self._translation.revisions.get(name, 0))
        self._states[name] = CollectionState(f"{name}/{revision}", entries, collection.traceparent)
        metrics.INSTANCES.set(len(entries), name)


def _entry(stored: Stored) -> Entry:
    """Its version also tells content: after a restored backup a revision's number may come again, and sinks compare only versions."""
    return Entry(stored.key.mcp_name, f"{stored.revision}.{zlib.crc32(stored.body):08x}", stored.body)
