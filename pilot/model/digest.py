# SPDX-License-Identifier: Apache-2.0
"""Content hashes. They decide what a push may reuse, so they follow content alone.

Resource versions would not do: registered workloads have none, and a resource stored again unchanged gets a new one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

import msgspec

from common.config.resource import Resource

_WRITER = msgspec.json.Encoder(order="sorted")
_SIZE = 16


def resource_digest(resource: Resource[Any]) -> bytes:
    """Hash of everything that generation may read from a resource."""
    metadata = resource.metadata
    content = [
        resource.kind.collection,
        metadata.namespace,
        metadata.name,
        metadata.labels,
        metadata.annotations,
        metadata.creationTimestamp,
        resource.spec,
    ]
    return hashlib.blake2b(_WRITER.encode(content), digest_size=_SIZE).digest()


def combine(parts: Iterable[bytes]) -> bytes:
    """One hash of several, in their order. Parts are delimited by their length, so no two lists run into each other."""
    hasher = hashlib.blake2b(digest_size=_SIZE)
    for part in parts:
        hasher.update(len(part).to_bytes(4, "big"))
        hasher.update(part)
    return hasher.digest()


def value_digest(value: object) -> bytes:
    """Hash of a plain value (what msgspec can write as JSON)."""
    return hashlib.blake2b(_WRITER.encode(value), digest_size=_SIZE).digest()
