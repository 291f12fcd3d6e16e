# SPDX-License-Identifier: Apache-2.0
"""In which attributes an answer may be cached.

Mixer's rules read attributes that the filter does not know: workload names, labels, query parameters. Mixer made these from attributes
that the filter does know, so before an answer leaves, each reference is reduced to those. What remains is a *shape*: the list of
attributes whose values, or absence, decide. An answer that depends on something which differs with every request is not cached at all.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Final, Literal, NamedTuple

SERVICE_HEADER: Final = "x-istio-attributes"
"""Carries `host;uid`: the service that a mesh client meant, and the workload that its proxy says to be. Only proxies of the mesh exchange it."""
PROXY_UID_VARIABLE: Final = "FOURMAST_PROXY_UID"
"""Environment variable in which the agent tells Envoy the workload's uid, because routes are shared and cannot name a proxy."""
SERVICE_METADATA: Final = "istio"
SERVICE_METADATA_KEY: Final = "service"
CHECKED_METADATA_KEY: Final = "checked"

Direction = Literal["inbound", "outbound"]


class Reference(NamedTuple):
    """An attribute, or with `key` one entry of a string map, on which an answer depends. `key` is empty for other attributes."""

    name: str
    key: str = ""


class Tag(StrEnum):
    """Tag of the record by which the filter sends an attribute."""

    STRING = "S"
    INT64 = "I"
    BOOL = "B"
    ADDRESS = "P"
    ENTRY = "M"


FILTER_ATTRIBUTES: Final[dict[str, Tag]] = {
    "connection.mtls": Tag.BOOL,
    "connection.requested_server_name": Tag.STRING,
    "context.protocol": Tag.STRING,
    "context.reporter.kind": Tag.STRING,
    "destination.ip": Tag.ADDRESS,
    "destination.port": Tag.INT64,
    "destination.service.host": Tag.STRING,
    "destination.service.name": Tag.STRING,
    "destination.service.namespace": Tag.STRING,
    "destination.service.uid": Tag.STRING,
    "origin.ip": Tag.ADDRESS,
    "request.headers": Tag.ENTRY,
    "request.host": Tag.STRING,
    "request.method": Tag.STRING,
    "request.path": Tag.STRING,
    "request.scheme": Tag.STRING,
    "request.url_path": Tag.STRING,
    "source.ip": Tag.ADDRESS,
    "source.port": Tag.INT64,
    "source.principal": Tag.STRING,
    "source.uid": Tag.STRING,
}
"""What the filter sends and can put into a cache key. `check_cache.lua` holds the same list; the vectors keep the two equal."""

_EVERY_REQUEST: Final = frozenset({"request.time", "context.time", "context.timestamp", "connection.id"})
_QUERY: Final = (Reference("request.path"),)
_SOURCE: Final = (Reference("source.ip"), Reference("source.principal"), Reference("source.uid"))
_DERIVED: Final[dict[str, tuple[Reference, ...]]] = {
    "request.query_params": _QUERY,
    "request.useragent": (Reference("request.headers", "user-agent"),),
    "request.referer": (Reference("request.headers", "referer"),),
    "request.id": (Reference("request.headers", "x-request-id"),),
    "source.user": (Reference("source.principal"),),
    "destination.principal": (),  # the proxy's own certificate
}


def shape_of(referenced: Iterable[tuple[str, str | None]], direction: Direction) -> tuple[Reference, ...] | None:
    """Reduce what an answer read, (name, map key or None), to a sorted shape; None when it cannot be cached.

    What belongs to the reporting proxy itself (the workload at its side of the connection) is the same for all its requests and has no part in a key.
    """
    shape: set[Reference] = set()
    own = "destination." if direction == "inbound" else "source."
    for name, key in referenced:
        if name in _EVERY_REQUEST or (name == "request.headers" and not key):
            return None
        if name == "request.headers":
            shape.add(Reference(name, str(key)))
        elif name in FILTER_ATTRIBUTES:
            if not (name.startswith(own) and not name.startswith("destination.service.")) or name in ("destination.port", "destination.ip"):
                shape.add(Reference(name))
        elif name in _DERIVED:
            shape.update(_DERIVED[name])
        elif name.startswith("source.") and direction == "inbound":
            shape.update(_SOURCE)
        # Everything else is the proxy's own, or is never in the bag: the same for every request.
    return tuple(sorted(shape))


def workload_uid(name: str, namespace: str) -> str:
    """`source.uid` and `destination.uid` of a workload, in Istio 1.4's form."""
    return f"kubernetes://{name}.{namespace}"


def join_service(host: str, name: str, namespace: str) -> str:
    """One string for `destination.service.{host,name,namespace}`: host names and Kubernetes names hold no `|`."""
    return f"{host}|{name}|{namespace}"


def split_service(text: str) -> tuple[str, str, str]:
    """Undo `join_service`; missing pieces are empty."""
    host, _, rest = text.partition("|")
    name, _, namespace = rest.partition("|")
    return host, name, namespace
