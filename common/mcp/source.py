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

from common.mcp.snapshot import CollectionState, Snapshot, empty
from common.proto.mcp import v1alpha1_pb2 as mcp


@dataclass(slots=True)
class _Watch:
    """One collection of one stream."""

    incremental: bool
    acked: dict[str, str] = field(default_factory=dict)  # name -> version that the sink holds, as far as it told us
    sent_version: str | None = None  # newest version sent, taken or refused; None before the first response
    pending_nonce: str = ""  # not empty: a response waits for its answer
    pending: dict[str, str] = field(default_factory=dict)


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

    @property
    def collections(self) -> tuple[str, ...]:
        return tuple(self._watches)

    def publish(self, snapshot: Snapshot) -> None:
        """A new state of the world. Nothing is answered before the first one."""
        self._snapshot = snapshot

    def receive(self, request: mcp.RequestResources) -> Answered:
        """A first request, an ACK or a NACK. After either answer the watch waits for something newer than what was sent."""
        collection, nonce = request.collection, request.response_nonce
        watch = self._watches.get(collection)
        if watch is None or not nonce:
            held = dict(request.initial_resource_versions) if request.incremental and self._incremental else {}
            self._watches[collection] = _Watch(request.incremental and self._incremental, acked=held)
            return Answered(collection=collection, nonce=nonce, first=True)
        if nonce != watch.pending_nonce:
            return Answered(collection=collection, nonce=nonce, stale=True)
        refused = request.HasField("error_detail")
        if not refused:
            watch.acked = watch.pending
        watch.pending_nonce, watch.pending = "", {}
        error = (request.error_detail.message or "refused without a reason") if refused else ""
        return Answered(collection=collection, nonce=nonce, error=error, code=request.error_detail.code if refused else 0)

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
        incremental = watch.incremental and bool(watch.acked)
        entries = state.entries
        response = mcp.Resources(
            system_version_info=state.version,
            collection=collection,
            nonce=str(self._nonce),
            incremental=incremental,
            traceparent=state.traceparent,
        )
        if incremental:
            response.resources.extend(e.message for e in entries.values() if watch.acked.get(e.name) != e.version)
            response.removed_resources.extend(sorted(_gone(watch.acked, entries)))
        else:
            response.resources.extend(e.message for e in entries.values())
        watch.sent_version, watch.pending_nonce = state.version, response.nonce
        watch.pending = {entry.name: entry.version for entry in entries.values()}
        return response


def _gone(held: Mapping[str, str], entries: Mapping[str, object]) -> list[str]:
    return [name for name in held if name not in entries]
