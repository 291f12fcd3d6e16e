# SPDX-License-Identifier: Apache-2.0
"""Discovery responses by joining cached bytes, instead of packing messages for each proxy (80 to 170 times the work).

A protobuf message is the concatenation of its fields, so a resource is framed once, as one entry of field `resources` (number 2 in both
kinds of response), and a response is a join. Tests hold these bytes equal to what protobuf itself reads and writes.
"""

from __future__ import annotations

from collections.abc import Iterable

_SMALL = tuple(bytes([number]) for number in range(128))


def varint(number: int) -> bytes:
    """Base-128, least significant group first. `number` is not negative."""
    if number < 128:
        return _SMALL[number]
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


def field(number: int, content: bytes) -> bytes:
    """A length-delimited field: a string, bytes or a message. `number` is at most 15, as all of discovery's are."""
    return b"".join((_SMALL[number << 3 | 2], varint(len(content)), content))


def text(number: int, content: str) -> bytes:
    """A string field; nothing when empty, as proto3 writes it."""
    return field(number, content.encode()) if content else b""


def any_message(type_url: str, body: bytes) -> bytes:
    """`google.protobuf.Any`, without its field header."""
    return text(1, type_url) + (field(2, body) if body else b"")


def sotw_resource(type_url: str, body: bytes) -> bytes:
    """One entry of `DiscoveryResponse.resources`."""
    return field(2, any_message(type_url, body))


def delta_resource(type_url: str, name: str, version: str, body: bytes) -> bytes:
    """One entry of `DeltaDiscoveryResponse.resources`."""
    return field(2, b"".join((text(1, version), field(2, any_message(type_url, body)), text(3, name))))


def sotw_response(type_url: str, version: str, nonce: str, resources: Iterable[bytes]) -> bytes:
    """`DiscoveryResponse`. `resources` are entries made by `sotw_resource`, single or already joined."""
    return b"".join((text(1, version), *resources, text(4, type_url), text(5, nonce)))


def delta_response(type_url: str, version: str, nonce: str, resources: Iterable[bytes], removed: Iterable[str] = ()) -> bytes:
    """`DeltaDiscoveryResponse`. `resources` are entries made by `delta_resource`, single or already joined."""
    return b"".join((text(1, version), *resources, text(4, type_url), text(5, nonce), *(text(6, name) for name in removed)))


def is_name_only(body: bytes, name: str) -> bool:
    """Whether a ClusterLoadAssignment or RouteConfiguration says nothing but its name (field 1 in both)."""
    return len(body) < len(name) * 4 + 8 and body == text(1, name)
