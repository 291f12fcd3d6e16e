# SPDX-License-Identifier: Apache-2.0
"""Header operations of routes, kept within what Envoy accepts.

Envoy refuses to add or remove `host` and the `:`-headers by these lists, and reads values as format strings. A host that is set here becomes a
rewrite of the authority; other `:`-headers are dropped.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from envoy.config.core.v3 import base_pb2

from common.config.kinds.networking import HeaderOperations, Headers
from pilot.networking.wire import is_value

_AUTHORITY = frozenset({"host", ":authority"})
_SAFE_COMMAND = re.compile(
    r"%(?:%|(?:DOWNSTREAM_(?:REMOTE_ADDRESS|LOCAL_ADDRESS|DIRECT_REMOTE_ADDRESS)(?:_WITHOUT_PORT)?|DOWNSTREAM_LOCAL_PORT"
    r"|DOWNSTREAM_PEER_(?:URI_SAN|SUBJECT|SERIAL)|DOWNSTREAM_(?:LOCAL_URI_SAN|TLS_VERSION|TLS_CIPHER)|PROTOCOL|HOSTNAME|RESPONSE_FLAGS"
    r"|UPSTREAM_REMOTE_ADDRESS|START_TIME|REQUESTED_SERVER_NAME|ROUTE_NAME|(?:REQ|RESP)\([A-Za-z0-9:_-]+\)(?::\d+)?)%)"
)
_NAME = re.compile(r"[!#$&'*+.^_`|~0-9A-Za-z-]+\Z")


def escape(value: str) -> str:
    """Keep the substitutions that Envoy is known to accept in headers; any other `%` stands for itself."""
    parts: list[str] = []
    position = 0
    for command in _SAFE_COMMAND.finditer(value):
        parts += (value[position : command.start()].replace("%", "%%"), command.group())
        position = command.end()
    return "".join((*parts, value[position:].replace("%", "%%")))


class HeaderTarget(Protocol):
    """A Route, a ClusterWeight or a VirtualHost: whatever has these four lists."""

    @property
    def request_headers_to_add(self) -> HeaderList: ...
    @property
    def response_headers_to_add(self) -> HeaderList: ...
    @property
    def request_headers_to_remove(self) -> NameList: ...
    @property
    def response_headers_to_remove(self) -> NameList: ...


class HeaderList(Protocol):
    """A repeated HeaderValueOption."""

    def add(self) -> base_pb2.HeaderValueOption: ...


class NameList(Protocol):
    """A repeated string."""

    def extend(self, values: Iterable[str], /) -> None: ...


@dataclass(frozen=True, slots=True)
class LegacyHeaders:
    """The deprecated lists that stand beside `headers` on routes and destinations."""

    append_request: dict[str, str]
    remove_request: tuple[str, ...]
    append_response: dict[str, str]
    remove_response: tuple[str, ...]


def apply_headers(target: HeaderTarget, headers: Headers | None, legacy: LegacyHeaders) -> str | None:
    """Add all operations in Istio's order: set, add, then the deprecated appends. Returns the authority that they ask for, if any."""
    request = (headers.request if headers is not None else None) or HeaderOperations()
    response = (headers.response if headers is not None else None) or HeaderOperations()
    authority = None
    for additions in (request.set, request.add):
        for name in sorted(additions):
            if name.lower() in _AUTHORITY:
                authority = additions[name]
    _add_all(target.request_headers_to_add, request, legacy.append_request)
    _add_all(target.response_headers_to_add, response, legacy.append_response)
    target.request_headers_to_remove.extend(_removable((*request.remove, *legacy.remove_request)))
    target.response_headers_to_remove.extend(_removable((*response.remove, *legacy.remove_response)))
    return authority


def _add_all(target: HeaderList, operations: HeaderOperations, appended: dict[str, str]) -> None:
    option = base_pb2.HeaderValueOption
    for values, action in (
        (operations.set, option.OVERWRITE_IF_EXISTS_OR_ADD),
        (operations.add, option.APPEND_IF_EXISTS_OR_ADD),
        (appended, option.APPEND_IF_EXISTS_OR_ADD),
    ):
        for name in sorted(values):
            if _usable(name) and is_value(values[name]):
                added = target.add()
                added.header.key = name
                added.header.value = escape(values[name])
                added.append_action = action


def _removable(names: Iterable[str]) -> list[str]:
    return [name for name in names if _usable(name)]


def _usable(name: str) -> bool:
    return name.lower() != "host" and is_header_name(name)


def is_header_name(name: str) -> bool:
    """A token of HTTP; the `:`-names are none."""
    return _NAME.match(name) is not None
