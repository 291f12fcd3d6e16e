# SPDX-License-Identifier: Apache-2.0
"""What a generator hands out: an Envoy resource as bytes, with its origin."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from google.protobuf.message import Message

from common.config.resource import ResourceKey
from pilot.networking.wire import serialize


class Generated(NamedTuple):
    """One Envoy resource: name, deterministically serialized message, and the configuration that it came from (for NACK attribution)."""

    name: str
    body: bytes
    sources: tuple[ResourceKey, ...]


def generated(name: str, message: Message, sources: Iterable[ResourceKey] = ()) -> Generated:
    return Generated(name, serialize(message), tuple(dict.fromkeys(sources)))
