# SPDX-License-Identifier: Apache-2.0
"""Discovery requests as bytes, and as much of responses as a client must know to answer: both written out field by field, so that a large
response is never taken apart for its nonce.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any, NamedTuple

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.core.v3.base_pb2 import Node
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import HttpConnectionManager
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryResponse, DiscoveryResponse
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_PREFIX = "type.googleapis.com/envoy.config."
CLUSTER = _PREFIX + "cluster.v3.Cluster"
ENDPOINT = _PREFIX + "endpoint.v3.ClusterLoadAssignment"
LISTENER = _PREFIX + "listener.v3.Listener"
ROUTE = _PREFIX + "route.v3.RouteConfiguration"
VIRTUAL_HOST = _PREFIX + "route.v3.VirtualHost"
SHORT = {CLUSTER: "cds", ENDPOINT: "eds", LISTENER: "lds", ROUTE: "rds", VIRTUAL_HOST: "vhds"}

SERVICE = "/envoy.service.discovery.v3.AggregatedDiscoveryService/"
_MANAGER = "/" + HttpConnectionManager.DESCRIPTOR.full_name
DISCOVERED = "*"
"""What a route configuration refers to whose virtual hosts are to be discovered."""
LONG, PRIVATE, BEGINNINGS = 64, 4, 32
"""Resources of a response whose beginning is remembered, how many at its end may be a client's own, and how many beginnings."""
METHOD = {"delta": SERVICE + "DeltaAggregatedResources", "sotw": SERVICE + "StreamAggregatedResources"}


def field(number: int, content: bytes) -> bytes:
    out, length = bytearray((number << 3 | 2,)), len(content)
    while length > 127:
        out.append(length & 127 | 128)
        length >>= 7
    out.append(length)
    return bytes(out) + content if content else b""


def names_field(names: Iterable[str]) -> bytes:
    """`resource_names` and `resource_names_subscribe` are field 3 alike."""
    return b"".join(field(3, name.encode()) for name in sorted(names))


def delta_subscription(
    type_url: str, names: bytes = b"", *, removed: Iterable[str] = (), node: Node | None = None, held: bytes = b""
) -> bytes:
    described = field(1, node.SerializeToString()) if node is not None else b""
    return described + field(2, type_url.encode()) + names + b"".join(field(4, name.encode()) for name in removed) + held


def held_field(message: bytes) -> bytes:
    """`initial_resource_versions` (5) of a client that holds just what this delta response brought."""
    items = DeltaDiscoveryResponse.FromString(message).resources
    return b"".join([_held(item.name, item.version) for item in items])


@cache
def _held(name: str, version: str) -> bytes:
    return field(5, field(1, name.encode()) + field(2, version.encode()))


def delta_answer(type_url: str, nonce: str) -> bytes:
    return field(2, type_url.encode()) + field(6, nonce.encode())


def sotw_request(type_url: str, names: bytes = b"", *, version: str = "", nonce: str = "", node: Node | None = None) -> bytes:
    described = field(2, node.SerializeToString()) if node is not None else b""
    return field(1, version.encode()) + described + names + field(4, type_url.encode()) + field(5, nonce.encode())


def _envelope() -> Any:
    """Both responses without their resources (field 2): those stay unread."""
    file = descriptor_pb2.FileDescriptorProto(name="xds_clients/envelope.proto", package="xds_clients", syntax="proto3")
    message = file.message_type.add(name="Envelope")
    kinds = descriptor_pb2.FieldDescriptorProto
    for number, name in ((1, "version"), (4, "type_url"), (5, "nonce")):
        message.field.add(name=name, number=number, type=kinds.TYPE_STRING, label=kinds.LABEL_OPTIONAL)
    message.field.add(name="removed", number=6, type=kinds.TYPE_BYTES, label=kinds.LABEL_REPEATED)  # state-of-the-world: control_plane
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("xds_clients.Envelope"))


Envelope = _envelope()


class Contents(NamedTuple):
    """What a response says to a client that follows references: resource -> names that it refers to, and what is gone."""

    references: dict[str, tuple[str, ...]]
    removed: tuple[str, ...]


class _Beginning(NamedTuple):
    """The first bytes of a delta response, up to its last few resources, and what the resources in them refer to."""

    section: bytes
    references: dict[str, tuple[str, ...]]


class Reader:
    """Reads references of clusters, listeners and routes: each resource once, and a long common beginning of responses once, however many
    clients get them.
    """

    def __init__(self, variant: str) -> None:
        self._delta = variant == "delta"
        self._known: dict[tuple[str, str] | bytes, tuple[str, tuple[str, ...]]] = {}
        self._beginnings: deque[tuple[str, _Beginning]] = deque(maxlen=BEGINNINGS)

    def read(self, type_url: str, message: bytes | bytearray) -> Contents:
        if not self._delta:
            return Contents(dict(self._sotw(type_url, bytes(message))), ())
        for its_type, beginning in self._beginnings:
            if its_type == type_url and message.startswith(beginning.section):
                rest = DeltaDiscoveryResponse.FromString(bytes(message[len(beginning.section) :]))
                return Contents({**beginning.references, **self._read(type_url, rest)}, tuple(rest.removed_resources))
        response = DeltaDiscoveryResponse.FromString(bytes(message))
        references = self._read(type_url, response)
        if len(references) >= LONG:
            self._beginnings.appendleft((type_url, self._beginning(message, list(references.items()))))
        return Contents(references, tuple(response.removed_resources))

    def _sotw(self, type_url: str, message: bytes) -> Iterator[tuple[str, tuple[str, ...]]]:
        for item in DiscoveryResponse.FromString(message).resources:
            body = item.value
            found = self._known.get(body)
            if found is None:
                found = self._known[body] = _references(type_url, body)
            yield found

    def _read(self, type_url: str, response: DeltaDiscoveryResponse) -> dict[str, tuple[str, ...]]:
        references: dict[str, tuple[str, ...]] = {}
        for resource in response.resources:
            name, version = resource.name, resource.version
            seen = self._known.get((name, version))
            if seen is None or not version:
                seen = self._known[name, version] = _references(type_url, resource.resource.value)
            references[name] = seen[1]
        return references

    @staticmethod
    def _beginning(message: bytes | bytearray, references: list[tuple[str, tuple[str, ...]]]) -> _Beginning:
        kept = len(references) - PRIVATE
        return _Beginning(bytes(message[: _end_of_resource(message, kept)]), dict(references[:kept]))


def _end_of_resource(message: bytes | bytearray, count: int) -> int:
    """Where the field ends that is a delta response's `count`th resource (field 2)."""
    position = 0
    while count:
        number = message[position] >> 3
        position += 1
        length = shift = 0
        while True:
            byte = message[position]
            position += 1
            length |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                break
        position += length
        count -= number == 2
    return position


def _references(type_url: str, body: bytes) -> tuple[str, tuple[str, ...]]:
    if type_url == CLUSTER:
        cluster = Cluster.FromString(body)
        if cluster.WhichOneof("cluster_discovery_type") == "type" and cluster.type == Cluster.EDS:
            return cluster.name, (cluster.eds_cluster_config.service_name or cluster.name,)
        return cluster.name, ()
    if type_url == ROUTE:
        routes = RouteConfiguration.FromString(body)
        return routes.name, (DISCOVERED,) if routes.HasField("vhds") else ()
    listener = Listener.FromString(body)
    names = set()
    for chain in (*listener.filter_chains, listener.default_filter_chain):
        for item in chain.filters:
            if item.typed_config.type_url.endswith(_MANAGER):
                manager = HttpConnectionManager.FromString(item.typed_config.value)
                if manager.WhichOneof("route_specifier") == "rds":
                    names.add(manager.rds.route_config_name)
    return listener.name, tuple(sorted(names))
