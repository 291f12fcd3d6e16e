# SPDX-License-Identifier: Apache-2.0
"""The source's side of one MCP stream, without I/O: requests and snapshots go in, responses come out.

Memory is bounded by design: a collection has at most one unanswered response, and what is sent next is computed from the newest snapshot
only when the sink is ready for it, so a slow sink skips states and never queues them.

Two differences from Istio 1.4, both learnt from its faults: a collection that the source does not know is served as empty instead of ending
the stream (a newer Pilot then works with an older Galley), and `initial_resource_versions` is honoured, so a reconnect costs a difference.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from common.mcp.snapshot import CollectionState, Entry, Snapshot, empty
from common.proto.mcp import v1alpha1_pb2 as mcp

LONGEST_NODE_ID = 253

Sync = Literal["SYNCED", "STALE", "NACK", "NOT SENT"]
"""Whether a sink has the newest state, had an older one, refused what it was sent last, or has accepted nothing yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectionSync:
    """How far one sink is with one collection."""

    collection: str
    state: Sync
    wanted: str
    acked: str
    reason: str = ""
    """The sink's own, when it refused."""


@dataclass(slots=True)
class _Watch:
    """One collection of one stream."""

    incremental: bool
    held: Mapping[str, Entry] = field(default_factory=dict)
    """What the sink holds, as far as it told us: the entries of the state that it took last, or stand-ins for what it claimed at first."""
    sent_version: str | None = None  # newest version sent, taken or refused; None before the first response
    pending_nonce: str = ""  # not empty: a response waits for its answer
    pending: Mapping[str, Entry] = field(default_factory=dict)
    acked_version: str = ""
    refusal: str = ""  # why `sent_version` was not taken


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """What a request meant. `error` is the sink's reason when it refused (NACK); `stale` answers belong to no pending response."""

    collection: str
    nonce: str
    error: str = ""
    code: int = 0
    stale: bool = False
    first: bool = False


class Source:
    """One connection. Feed `receive` and `publish`; send what `next` yields until it yields None."""

    def __init__(self, *, incremental: bool = True) -> None:
        """`incremental` False gives Istio 1.4's behaviour: every response is a whole collection."""
        self._incremental = incremental
        self._snapshot: Snapshot | None = None
        self._watches: dict[str, _Watch] = {}
        self._nonce = 0
        self.node_id = ""
        """What the sink calls itself; only for people."""

    @property
    def collections(self) -> tuple[str, ...]:
        return tuple(self._watches)

    def publish(self, snapshot: Snapshot) -> None:
        """A new state of the world. Nothing is answered before the first one."""
        self._snapshot = snapshot

    def receive(self, request: mcp.RequestResources) -> Answered:
        """A first request, an ACK or a NACK. After either answer the watch waits for something newer than what was sent."""
        collection, nonce = request.collection, request.response_nonce
        self.node_id = request.sink_node.id[:LONGEST_NODE_ID] or self.node_id
        watch = self._watches.get(collection)
        if watch is None or not nonce:
            incremental = request.incremental and self._incremental
            claimed = request.initial_resource_versions if incremental else {}
            self._watches[collection] = _Watch(incremental, held={name: Entry(name, version, b"") for name, version in claimed.items()})
            return Answered(collection=collection, nonce=nonce, first=True)
        if nonce != watch.pending_nonce:
            return Answered(collection=collection, nonce=nonce, stale=True)
        refused = request.HasField("error_detail")
        if not refused:
            watch.held, watch.acked_version = watch.pending, watch.sent_version or ""
        watch.pending_nonce, watch.pending = "", {}
        error = watch.refusal = (request.error_detail.message or "refused without a reason") if refused else ""
        return Answered(collection=collection, nonce=nonce, error=error, code=request.error_detail.code if refused else 0)

    def sync(self) -> tuple[CollectionSync, ...]:
        """How far the sink is with each collection that it asked for."""
        snapshot = self._snapshot or {}
        return tuple(_sync(watch, snapshot.get(collection) or empty(collection)) for collection, watch in self._watches.items())

    @property
    def is_synced(self) -> bool:
        """Whether the sink took the newest state of everything that it asked for."""
        snapshot = self._snapshot or {}
        return all(w.acked_version == (snapshot.get(c) or empty(c)).version for c, w in self._watches.items())

    def next(self) -> mcp.Resources | None:
        """The next response to send now, or None when every watch is answered or waits for its ACK."""
        if self._snapshot is None:
            return None
        for collection, watch in self._watches.items():
            if watch.pending_nonce:
                continue
            state = self._snapshot.get(collection) or empty(collection)
            if state.version != watch.sent_version:
                return self._respond(collection, watch, state)
        return None

    def _respond(self, collection: str, watch: _Watch, state: CollectionState) -> mcp.Resources:
        self._nonce += 1
        # Without anything held by the sink a difference is the whole, and saying so lets it drop what it had from elsewhere.
        incremental = watch.incremental and bool(watch.held)
        entries, held = state.entries, watch.held
        response = mcp.Resources(
            system_version_info=state.version,
            collection=collection,
            nonce=str(self._nonce),
            incremental=incremental,
            traceparent=state.traceparent,
        )
        if incremental:
            response.resources.extend(e.message for name, e in entries.items() if e is not (known := held.get(name)) and _differs(e, known))
            response.removed_resources.extend(sorted(held.keys() - entries.keys()))
        else:
            response.resources.extend(e.message for e in entries.values())
        watch.sent_version, watch.pending_nonce, watch.refusal = state.version, response.nonce, ""
        watch.pending = entries
        return response


def _sync(watch: _Watch, present: CollectionState) -> CollectionSync:
    state: Sync = "STALE" if watch.acked_version else "NOT SENT"
    if watch.refusal:
        state = "NACK"
    elif watch.acked_version == present.version:
        state = "SYNCED"
    collection = present.version.rpartition("/")[0]
    return CollectionSync(collection=collection, state=state, wanted=present.version, acked=watch.acked_version, reason=watch.refusal)


def _differs(entry: Entry, known: Entry | None) -> bool:
    """Unchanged entries are mostly the same object in two states; else their versions tell."""
    return known is None or known.version != entry.version
