# SPDX-License-Identifier: Apache-2.0
"""Load assignments: the endpoints of one cluster, grouped by locality, for EDS and for clusters that carry theirs.

Endpoints are half of what a large mesh is sent, so each says only what Envoy or Mixer reads: no weight of 1, and no workload (Istio 1.4 wrote its
uid; Mixer knows workloads by address and certificate). How to connect stays with each endpoint although the locality has room for it:
Envoy 1.40 does not look at a locality's metadata again for hosts that it knows.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Final

from envoy.config.endpoint.v3 import endpoint_components_pb2, endpoint_pb2

from pilot.model.authentication import MutualTls, PeerPolicies
from pilot.model.labels import selects
from pilot.model.service import MAX_PORT, Endpoint, Port, Resolution, Service
from pilot.networking.wire import bounded_weight, is_value, set_socket

TRANSPORT_MATCH = "envoy.transport_socket_match"
TLS_MODE = "tlsMode"
ISTIO = "istio"
_MAX_PIPE: Final = 108
"""Bytes of a Unix socket's path, which Linux bounds."""


def load_assignment(
    name: str, service: Service, port: Port, endpoints: Iterable[Endpoint], *, labels: Mapping[str, str], policies: PeerPolicies
) -> endpoint_pb2.ClusterLoadAssignment:
    """The endpoints that have all of a subset's labels. Weights of a locality are the sums of its endpoints'."""
    assignment = endpoint_pb2.ClusterLoadAssignment(cluster_name=name)
    localities: dict[str, list[Endpoint]] = {}
    for endpoint in endpoints:
        if _is_usable(endpoint, port, by_name=service.resolution is Resolution.DNS) and selects(labels, endpoint.labels):
            localities.setdefault(endpoint.locality, []).append(endpoint)
    for locality in sorted(localities):
        group = assignment.endpoints.add()
        _set_locality(group, locality)
        weight = 0
        for endpoint in sorted(localities[locality], key=lambda endpoint: (endpoint.address, endpoint.ports[port.number])):
            _add_endpoint(group, endpoint, service, port, policies)
            weight += bounded_weight(endpoint.weight)
        group.load_balancing_weight.value = weight
    return assignment


def _is_usable(endpoint: Endpoint, port: Port, *, by_name: bool) -> bool:
    """Envoy refuses a whole assignment for one bad address: names only where DNS resolves them, Unix sockets only where it does not."""
    if not 0 < endpoint.ports.get(port.number, 0) <= MAX_PORT:
        return False
    if endpoint.is_unix:
        return not by_name and len(endpoint.address.removeprefix("unix://").encode()) in range(1, _MAX_PIPE)
    return bool(endpoint.address) and is_value(endpoint.address) if by_name else _is_ip(endpoint.address)


@lru_cache(maxsize=65536)
def _is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _set_locality(group: endpoint_components_pb2.LocalityLbEndpoints, locality: str) -> None:
    region, _, rest = locality.partition("/")
    zone, _, sub_zone = rest.partition("/")
    if region:
        group.locality.region = region
        group.locality.zone = zone
        group.locality.sub_zone = sub_zone


def _add_endpoint(
    group: endpoint_components_pb2.LocalityLbEndpoints, endpoint: Endpoint, service: Service, port: Port, policies: PeerPolicies
) -> None:
    target = group.lb_endpoints.add()
    set_socket(target.endpoint.address, endpoint.address, endpoint.ports[port.number])
    weight = bounded_weight(endpoint.weight)
    if weight != 1:
        target.load_balancing_weight.value = weight
    metadata = target.metadata.filter_metadata
    if takes_mtls(endpoint, service, port, policies):
        metadata[TRANSPORT_MATCH].fields[TLS_MODE].string_value = ISTIO
    if endpoint.network:
        metadata["istio"].fields["network"].string_value = endpoint.network


def takes_mtls(endpoint: Endpoint, service: Service, port: Port, policies: PeerPolicies) -> bool:
    """A sidecar stands in front and no policy switched mutual TLS off there. Decided here, per endpoint, so that policies never change clusters."""
    if not endpoint.has_sidecar:
        return False
    mode = policies.mode(
        endpoint.namespace,
        endpoint.labels,
        endpoint.ports[port.number],
        hostname=service.hostname,
        service_port=(port.number, port.name),
    )
    return mode is not MutualTls.DISABLE
