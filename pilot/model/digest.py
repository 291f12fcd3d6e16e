# SPDX-License-Identifier: Apache-2.0
"""Content hashes. They decide what a push may reuse, so they follow content alone.

Resource versions would not do: registered workloads have none, and a resource stored again unchanged gets a new one.
"""

from __future__ import annotations

import hashlib
import struct
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
    """One hash of several, in their order. Their lengths are part of it, so no two lists run into each other."""
    parts = tuple(parts)
    hasher = hashlib.blake2b(struct.pack(f">{len(parts) + 1}I", len(parts), *map(len, parts)), digest_size=_SIZE)
    hasher.update(b"".join(parts))  # in one piece: ten thousand small updates cost more than all of the hashing
    return hasher.digest()


def value_digest(value: object) -> bytes:
    """Hash of a plain value (what msgspec can write as JSON)."""
    return hashlib.blake2b(_WRITER.encode(value), digest_size=_SIZE).digest()
