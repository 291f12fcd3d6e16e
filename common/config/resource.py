# SPDX-License-Identifier: Apache-2.0
"""A resource: one Kubernetes-shaped document, decoded once and frozen.

The canonical JSON made here is what Galley stores and hashes, what MCP carries and what Pilot and Mixer decode:
one path for split and merged mode, so both see the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Generic, NamedTuple, TypeVar

import msgspec

from common.config.registry import Kind, registry

S = TypeVar("S", bound=msgspec.Struct)

ENVELOPE: Final = ("apiVersion", "kind", "metadata", "status")
"""The fields of every document around its typed part. `status` belongs to the control plane and is never read from a user."""


class Metadata(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Object metadata, in the names of Kubernetes. `creationTimestamp` is RFC 3339 in UTC with seconds; empty before the store sets it."""

    name: str
    namespace: str = ""
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    creationTimestamp: str = ""
    generation: int = 0
    resourceVersion: str = ""
    uid: str = ""


class ResourceKey(NamedTuple):
    """Identity of a resource in the mesh; sorts by collection, then namespace, then name."""

    collection: str
    namespace: str
    name: str

    @property
    def mcp_name(self) -> str:
        """`namespace/name`; the bare name for cluster-scoped kinds (Istio 1.4's MCP naming)."""
        return f"{self.namespace}/{self.name}" if self.namespace else self.name

    def __str__(self) -> str:
        """`VirtualService default/reviews`, the form that messages for people use."""
        kind = registry.by_collection(self.collection)
        return f"{kind.name if kind else self.collection} {self.mcp_name}"


class Resource(msgspec.Struct, Generic[S], frozen=True, kw_only=True, eq=False):
    """One configuration object. Compare by `key` and `metadata.resourceVersion`, not by value."""

    kind: Kind
    metadata: Metadata
    spec: S

    @property
    def key(self) -> ResourceKey:
        return ResourceKey(self.kind.collection, self.metadata.namespace, self.metadata.name)

    @property
    def name(self) -> str:
        return self.metadata.name

    @property
    def namespace(self) -> str:
        return self.metadata.namespace


class DecodeError(ValueError):
    """The bytes are not a resource of a known kind; the message says which field is wrong."""


_WRITER = msgspec.json.Encoder(order="sorted")


def encode(resource: Resource[Any]) -> bytes:
    """Canonical JSON: sorted keys, defaults omitted, no spaces. Equal resources give equal bytes in every process."""
    return _WRITER.encode(to_document(resource))


def to_document(resource: Resource[Any]) -> dict[str, Any]:
    """The resource as plain values, in the shape of its document."""
    kind = resource.kind
    document = {"apiVersion": kind.api_version, "kind": kind.name, "metadata": msgspec.to_builtins(resource.metadata)}
    payload = msgspec.to_builtins(resource.spec)
    if kind.whole_field is not None:
        payload = payload.get(kind.whole_field, {})
    return document | (payload if kind.payload_field is None else {kind.payload_field: payload})


def decode(body: bytes) -> Resource[Any]:
    """Read canonical JSON (or any JSON of the same shape). Unknown fields are ignored, so that versions of the parts may differ."""
    try:
        return from_document(msgspec.json.decode(body, type=dict[str, Any]))
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DecodeError(str(error)) from error


def from_document(document: Mapping[str, Any]) -> Resource[Any]:
    """Turn plain values (from JSON or YAML) into a typed resource. Raises UnknownKindError or DecodeError."""
    kind = registry.find(str(document.get("apiVersion", "")), str(document.get("kind", "")))
    try:
        metadata = msgspec.convert(document.get("metadata") or {}, Metadata)
        payload = payload_of(kind, document) or {}
        spec = msgspec.convert({kind.whole_field: payload} if kind.whole_field else payload, kind.spec)
    except msgspec.ValidationError as error:
        raise DecodeError(str(error)) from error
    return Resource(kind=kind, metadata=metadata, spec=spec)


def payload_of(kind: Kind, document: Mapping[str, Any]) -> Any:
    """The typed part of a document, still as plain values; None when it is absent."""
    if kind.payload_field is None:
        return {name: value for name, value in document.items() if name not in ENVELOPE}
    return document.get(kind.payload_field)
