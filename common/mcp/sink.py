# SPDX-License-Identifier: Apache-2.0
"""The sink's side of MCP, without I/O. It outlives connections: what was accepted stays, and the next stream asks only for the difference.

An object that cannot be read is skipped and named, the rest of its collection is applied, and the answer is still an ACK: in Istio 1.1 one
bad object refused its whole collection. If the object had a good form before, that form stays.
"""

from __future__ import annotations

import collections
import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from google.protobuf.wrappers_pb2 import BytesValue
from google.rpc import code_pb2

from common.config.registry import UnknownKindError
from common.config.resource import DecodeError, Resource, decode
from common.mcp.change import Change, Skipped
from common.proto.mcp import v1alpha1_pb2 as mcp

JOURNAL_LENGTH = 32  # requests kept for the introspection page, as Istio 1.4 keeps them


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalEntry:
    """One answer, for people who look."""

    time: str
    collection: str
    version: str
    nonce: str
    acked: bool
    message: str


@dataclass(frozen=True, slots=True)
class Delivery:
    """A response that was read; the consumer must take or refuse its `change`, and `Sink.accept` or `Sink.reject` answers it."""

    change: Change
    nonce: str
    _versions: dict[str, str]


class Sink:
    """The collections that one consumer asked for, and what it holds of each."""

    def __init__(self, node_id: str, wanted: Sequence[str], *, incremental: bool = True) -> None:
        self._node = mcp.SinkNode(id=node_id)
        self._incremental = incremental
        self._held: dict[str, dict[str, str]] = {collection: {} for collection in wanted}
        self.missing: set[str] = set(wanted)
        """Collections for which nothing was accepted yet: the consumer is synced when it is empty."""
        self.versions: dict[str, str] = {}
        """Accepted version of each collection."""
        self.journal: collections.deque[JournalEntry] = collections.deque(maxlen=JOURNAL_LENGTH)

    def connect(self) -> list[mcp.RequestResources]:
        """The first requests of a new stream."""
        return [
            mcp.RequestResources(
                sink_node=self._node,
                collection=collection,
                incremental=self._incremental,
                initial_resource_versions=held if self._incremental else {},
            )
            for collection, held in self._held.items()
        ]

    def receive(self, response: mcp.Resources) -> Delivery | mcp.RequestResources:
        """Read a response: a delivery for the consumer, or at once the NACK of a collection that was never asked for."""
        collection = response.collection
        held = self._held.get(collection)
        if held is None:
            return self._answer(response, code_pb2.UNIMPLEMENTED, f"collection {collection!r} was not asked for")
        upserts: list[Resource[Any]] = []
        skipped: list[Skipped] = []
        versions = dict(held) if response.incremental else {}
        for message in response.resources:
            name = message.metadata.name.removeprefix("/")
            try:
                resource = _read(message, collection, name)
            except (DecodeError, UnknownKindError) as error:
                skipped.append(Skipped(mcp_name=name, reason=str(error)))
                if name in held:  # its last good form stays, and so must its place in the index
                    versions[name] = message.metadata.version
                continue
            upserts.append(resource)
            versions[name] = message.metadata.version
        if response.incremental:
            removed = tuple(n for n in (r.removeprefix("/") for r in response.removed_resources) if n in held)
            for name in removed:
                del versions[name]
        else:
            removed = tuple(name for name in held if name not in versions)
        full = not response.incremental and not (skipped and any(s.mcp_name in held for s in skipped))
        change = Change(
            collection=collection,
            version=response.system_version_info,
            upserts=tuple(upserts),
            removed=removed,
            full=full,
            traceparent=response.traceparent,
            skipped=tuple(skipped),
        )
        return Delivery(change, response.nonce, versions)

    def accept(self, delivery: Delivery) -> mcp.RequestResources:
        """The consumer took it: remember, and ACK."""
        change = delivery.change
        self._held[change.collection] = delivery._versions
        self.versions[change.collection] = change.version
        self.missing.discard(change.collection)
        self._note(change.collection, change.version, delivery.nonce, True, "")
        return mcp.RequestResources(
            sink_node=self._node, collection=change.collection, response_nonce=delivery.nonce, incremental=self._incremental
        )

    def reject(self, delivery: Delivery, reason: str) -> mcp.RequestResources:
        """The consumer refused it and stays as it was: NACK."""
        response = mcp.Resources(collection=delivery.change.collection, nonce=delivery.nonce, system_version_info=delivery.change.version)
        return self._answer(response, code_pb2.INVALID_ARGUMENT, reason)

    def _answer(self, response: mcp.Resources, code: int, reason: str) -> mcp.RequestResources:
        self._note(response.collection, response.system_version_info, response.nonce, False, reason)
        request = mcp.RequestResources(
            sink_node=self._node, collection=response.collection, response_nonce=response.nonce, incremental=self._incremental
        )
        request.error_detail.code = code
        request.error_detail.message = reason
        return request

    def _note(self, collection: str, version: str, nonce: str, acked: bool, message: str) -> None:
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
        self.journal.append(JournalEntry(time=now, collection=collection, version=version, nonce=nonce, acked=acked, message=message))


def _read(message: mcp.Resource, collection: str, name: str) -> Resource[Any]:
    body = BytesValue()
    if not message.body.Unpack(body):
        raise DecodeError(f"body is {message.body.type_url or 'absent'}, not canonical JSON in a google.protobuf.BytesValue")
    resource = decode(body.value)
    if resource.kind.collection != collection:
        raise DecodeError(f"a {resource.kind.name} does not belong to collection {collection}")
    if resource.key.mcp_name != name:
        raise DecodeError(f"the object inside is called {resource.key.mcp_name!r}, the message {name!r}")
    return resource
