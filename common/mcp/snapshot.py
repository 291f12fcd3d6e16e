# SPDX-License-Identifier: Apache-2.0
"""What a source has to give: an immutable snapshot of collections, with each object's bytes framed once however many sinks there are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType

from google.protobuf.wrappers_pb2 import BytesValue

from common.proto.mcp import v1alpha1_pb2 as mcp


@dataclass(frozen=True, eq=False)
class Entry:
    """One object: its MCP name, its version (metadata.resourceVersion) and its canonical JSON."""

    name: str
    version: str
    body: bytes = field(repr=False)

    @cached_property
    def message(self) -> mcp.Resource:
        """The wire form; made at first use and shared by all streams, so never change it."""
        resource = mcp.Resource(metadata=mcp.Metadata(name=self.name, version=self.version))
        resource.body.Pack(BytesValue(value=self.body))
        return resource


@dataclass(frozen=True, slots=True, eq=False)
class CollectionState:
    """One collection at one version. `version` is persisted and never names other content: `collection/revision`."""

    version: str
    entries: Mapping[str, Entry]
    traceparent: str = ""

    @classmethod
    def of(cls, version: str, entries: Iterable[Entry], traceparent: str = "") -> CollectionState:
        return cls(version, MappingProxyType({entry.name: entry for entry in entries}), traceparent)


Snapshot = Mapping[str, CollectionState]
"""Collection -> state. A collection that is not in it is empty."""


def empty(collection: str) -> CollectionState:
    """The state of a collection that the source does not know: nothing is in it, and asking for it harms nobody."""
    return CollectionState(f"{collection}/0", MappingProxyType({}))
