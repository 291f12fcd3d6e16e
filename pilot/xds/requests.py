# SPDX-License-Identifier: Apache-2.0
"""Reading discovery requests: both variants become values that the conversation understands.

A state-of-the-world Envoy repeats all its names in every acknowledgement, 47 KB for 1,000 clusters. Names that stand in the same bytes as
last time are therefore recognised without being parsed: fields come in the order of their numbers, so they are one contiguous section.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from envoy.config.core.v3.base_pb2 import Node
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest, DiscoveryRequest
from google.protobuf.message import DecodeError

from pilot.xds.framing import text
from pilot.xds.names import EMPTY, NameSets

NODE_BYTES, REQUEST_BYTES = 64 * 1024, 4 * 1024 * 1024
"""Sizes above which a node or a request is refused before it is looked at."""

_NO_VERSIONS: Mapping[str, str] = {}


class MalformedRequest(ValueError):
    """The bytes are no discovery request, or are too many. The stream ends with INVALID_ARGUMENT."""


class Request(NamedTuple):
    """One request. `names` is the whole subscription (state-of-the-world only, None in delta); delta has `subscribe` and `unsubscribe`."""

    type_url: str
    nonce: str = ""
    error: str | None = None
    """Envoy's message when this is a refusal (NACK)."""
    names: frozenset[str] | None = None
    subscribe: frozenset[str] = EMPTY
    unsubscribe: frozenset[str] = EMPTY
    known: Mapping[str, str] = _NO_VERSIONS
    """What a reconnecting delta client holds: name -> version."""
    node: Node | None = None


class DeltaReader:
    """Reads `DeltaDiscoveryRequest`."""

    def __init__(self, sets: NameSets) -> None:
        self._sets = sets

    def read(self, raw: bytes) -> Request:
        message = _parse(DeltaDiscoveryRequest, raw)
        return Request(
            type_url=message.type_url,
            nonce=message.response_nonce,
            error=_error(message),
            subscribe=self._sets.intern(message.resource_names_subscribe) if message.resource_names_subscribe else EMPTY,
            unsubscribe=frozenset(message.resource_names_unsubscribe) if message.resource_names_unsubscribe else EMPTY,
            known=dict(message.initial_resource_versions) if message.initial_resource_versions else _NO_VERSIONS,
            node=_node(message),
        )


class SotwReader:
    """Reads `DiscoveryRequest`; remembers each type's section of names."""

    REMEMBERED = 512  # bytes; parsing fewer costs less than comparing
    MOST_SECTIONS = 4

    def __init__(self, sets: NameSets) -> None:
        self._sets = sets
        self._sections: dict[str, tuple[bytes, frozenset[str]]] = {}

    def read(self, raw: bytes) -> Request:
        start = _names_start(raw)
        for type_url, (section, names) in self._sections.items():
            end = start + len(section)
            if raw.startswith(section, start) and raw[end : end + 1] == b"\x22":  # the next field is type_url
                message = _parse(DiscoveryRequest, raw[:start] + raw[end:])
                if message.type_url == type_url and not message.resource_names:
                    return self._request(message, names)
        message = _parse(DiscoveryRequest, raw)
        names = self._sets.intern(message.resource_names)
        if len(names) * 8 > self.REMEMBERED:
            self._remember(message.type_url, raw, start, names)
        return self._request(message, names)

    def _request(self, message: Any, names: frozenset[str]) -> Request:
        return Request(type_url=message.type_url, nonce=message.response_nonce, error=_error(message), names=names, node=_node(message))

    def _remember(self, type_url: str, raw: bytes, start: int, names: frozenset[str]) -> None:
        end = raw.find(text(4, type_url), start)
        section = raw[start:end]
        if (end > start and len(self._sections) < self.MOST_SECTIONS) or type_url in self._sections:
            alone = DiscoveryRequest()
            try:
                alone.ParseFromString(section)
            except DecodeError:  # another order of fields: this client is parsed in full each time
                return
            if frozenset(alone.resource_names) == names and not alone.type_url:
                self._sections[type_url] = (section, names)


def _names_start(raw: bytes) -> int:
    """Where `resource_names` begin: after version_info and node, when these are there."""
    position = 0
    for tag in (0x0A, 0x12):
        if position < len(raw) and raw[position] == tag:
            length = shift = 0
            position += 1
            while position < len(raw):
                byte = raw[position]
                position += 1
                length |= (byte & 127) << shift
                shift += 7
                if byte < 128 or shift > 28:
                    break
            position += length
    return position


def _parse(kind: Any, raw: bytes) -> Any:
    if len(raw) > REQUEST_BYTES:
        raise MalformedRequest(f"a request of {len(raw)} bytes is more than {REQUEST_BYTES}")
    try:
        return kind.FromString(raw)
    except DecodeError as error:
        raise MalformedRequest("the bytes are not a discovery request") from error


def _error(message: Any) -> str | None:
    return message.error_detail.message.strip() or "no reason given" if message.HasField("error_detail") else None


def _node(message: Any) -> Node | None:
    if not message.HasField("node"):
        return None
    if message.node.ByteSize() > NODE_BYTES:
        raise MalformedRequest(f"a node of {message.node.ByteSize()} bytes is more than {NODE_BYTES}")
    node: Node = message.node
    return node
