# SPDX-License-Identifier: Apache-2.0
"""Protobuf spelling that every builder needs: deterministic bytes, `Any`, durations, config sources.

Everything that becomes bytes goes through `serialize`, inside `Any` too: equal snapshots must give equal bytes in every process.
"""

from __future__ import annotations

from typing import Final

from envoy.config.core.v3 import address_pb2, config_source_pb2
from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import Message

from common.config.duration import DurationError
from common.config.duration import seconds as parse_seconds

MAX_WEIGHT: Final = 1_000_000
UINT32_MAX: Final = 2**32 - 1
MAX_SECONDS: Final = 315_360_000.0
"""Ten years: what is longer means *for ever*, and would overflow Envoy's nanoseconds."""
_TICK: Final = 1e-6
"""Less than a microsecond is nothing: it would round to a zero where Envoy demands more."""
_FORBIDDEN: Final = frozenset("\0\r\n")
_PREFIX: Final = "type.googleapis.com/"


def serialize(message: Message) -> bytes:
    """The message's deterministic bytes: map entries in the order of their keys."""
    return message.SerializeToString(deterministic=True)


def embedded(number: int, body: bytes) -> bytes:
    """A serialized message as a field of another: messages that are made of ready parts are joined, not built. `number` is at most 15."""
    header = bytearray((number << 3 | 2,))
    length = len(body)
    while length > 127:
        header.append(length & 127 | 128)
        length >>= 7
    header.append(length)
    return bytes(header) + body


def pack(message: Message, into: any_pb2.Any) -> None:
    """Like `Any.Pack`, which cannot be made deterministic."""
    into.type_url = _PREFIX + message.DESCRIPTOR.full_name
    into.value = serialize(message)


def packed(message: Message) -> any_pb2.Any:
    target = any_pb2.Any()
    pack(message, target)
    return target


def set_seconds(field: duration_pb2.Duration, seconds: float) -> None:
    """Set a duration field, zero included (which protobuf tells apart from absent)."""
    nanos = round(seconds * 1_000_000_000)
    field.seconds, field.nanos = divmod(nanos, 1_000_000_000)
    field.SetInParent()


def optional_seconds(text: str | None) -> float | None:
    """A duration of the configuration; None when absent. Galley refuses malformed and negative ones, so one that got here counts as absent."""
    if text is None:
        return None
    try:
        seconds = parse_seconds(text)
    except DurationError:
        return None
    if seconds < 0:
        return None
    return min(seconds, MAX_SECONDS) if seconds >= _TICK else 0.0


def bounded(number: int) -> int:
    """A count as a field of 32 bits takes it: assignment of anything else would raise."""
    return min(max(number, 0), UINT32_MAX)


def bounded_weight(weight: int) -> int:
    """A weight of at least 1, small enough that no sum of weights overflows."""
    return min(max(weight, 1), MAX_WEIGHT)


def is_value(text: str) -> bool:
    """Whether Envoy takes the text as a header's value, or as a part of one: no control characters that end it."""
    return _FORBIDDEN.isdisjoint(text)


def set_ads(source: config_source_pb2.ConfigSource) -> None:
    """The resource comes on the same ADS stream."""
    source.ads.SetInParent()
    source.resource_api_version = config_source_pb2.V3


def set_socket(address: address_pb2.Address, host: str, port: int) -> None:
    """A TCP socket address, or a pipe when `host` is `unix://path` (Envoy's pipes carry no scheme)."""
    if host.startswith("unix://"):
        address.pipe.path = host.removeprefix("unix://")
    else:
        address.socket_address.address = host
        address.socket_address.port_value = port
