# SPDX-License-Identifier: Apache-2.0
"""Who is at the other end of a stream: the node that it says it is, held against the certificate that it showed.

Istio 1.4 only asks for some certificate of the mesh, so any workload may read any other's configuration. Here a proxy gets what its own
namespace and service account own, and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from envoy.config.core.v3.base_pb2 import Node
from google.protobuf.json_format import MessageToDict

from common.identity.bounds import outside_bounds
from common.identity.spiffe import SpiffeId
from common.mesh.node import NodeId, NodeMetadata
from pilot.errors import Forbidden, Malformed, Unauthenticated


class Described(msgspec.Struct, frozen=True):
    """A node as its first request describes it."""

    id: NodeId
    metadata: NodeMetadata
    locality: str
    """`region/zone/subzone`, without empty parts at the end."""

    @property
    def proxy_id(self) -> str:
        """`name.namespace`: how debug pages and `fourmast proxy-status` call a proxy."""
        return f"{self.id.name}.{self.id.namespace}"


def describe(node: Node | None) -> Described:
    """Read the node of a first request. Raises Malformed, saying which field is wrong."""
    if node is None or not node.id:
        raise Malformed("the first request of a stream must carry a node with an id")
    try:
        found = NodeId.parse(node.id)
        metadata = msgspec.convert(MessageToDict(node.metadata), NodeMetadata)
    except (ValueError, msgspec.ValidationError) as error:
        raise Malformed(f"node {node.id!r}: {error}") from error
    if found.namespace != metadata.NAMESPACE:
        raise Malformed(f"node {node.id!r}: its metadata says namespace {metadata.NAMESPACE!r}")
    place = (node.locality.region, node.locality.zone, node.locality.sub_zone)
    return Described(found, metadata, "/".join(place).rstrip("/"))


def check_identity(described: Described, peer: SpiffeId | None, *, trust_domain: str) -> None:
    """Raise unless the peer's certificate is that of the node's namespace and service account."""
    if peer is None:
        raise Unauthenticated("the client certificate does not hold exactly one SPIFFE id")
    expected = (trust_domain, described.metadata.NAMESPACE, described.metadata.SERVICE_ACCOUNT)
    if tuple(peer) != expected:
        wanted = SpiffeId(*expected)
        raise Forbidden(f"{described.proxy_id} asks as {wanted}, but its certificate is that of {peer}")


def check_labels(described: Described, bounds: Mapping[str, str]) -> None:
    """Raise unless the node's labels are those that its join token allowed: by labels it gets the inbound side, or the gateways, of others."""
    if (outside := outside_bounds(bounds, described.metadata.LABELS)) is not None:
        raise Forbidden(f"the join token of {described.proxy_id} bounds its labels: {outside}")
