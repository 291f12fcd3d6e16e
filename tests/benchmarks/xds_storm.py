# SPDX-License-Identifier: Apache-2.0
"""A storm of endpoint changes: how often proxies are bothered by it, and whether they end up with what is true."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryResponse

from tests.benchmarks.xds_clients.client import Client
from tests.benchmarks.xds_clients.messages import ENDPOINT
from tests.benchmarks.xds_clients.swarm import History, Swarm
from tests.benchmarks.xds_lab import Lab

SETTLE = 20.0  # seconds in which the last state must have come
AT_ONCE = 100  # changes in one request


def storm(lab: Lab, swarm: Swarm, *, seconds: float, changes: int) -> tuple[float, bool]:
    """`changes` a second for so long. Returns endpoint pushes a second for one proxy, and whether all proxies' final state is right."""
    mesh = lab.mesh
    before = swarm.responses[ENDPOINT]
    history = swarm.history = History()
    expected: dict[str, str] = {}
    total, number, began = round(seconds * changes), 0, time.monotonic()
    while number < total:
        generation, batch = lab.next_generation(), []
        for step in range(min(AT_ONCE, mesh.services)):
            service = mesh.service((number + step) % mesh.services)
            document = mesh.endpoint(service, 0, generation=generation)
            expected[f"outbound|{service.port}||{service.host}"] = document["spec"]["address"]
            batch.append(document)
        number += len(batch)
        applied = lab.apply(batch)
        swarm.idle(max(0.0, began + number / changes - time.monotonic()))
        while not applied.done():
            swarm.idle(0.01)
        applied.result()
    took = time.monotonic() - began
    pushes = (swarm.responses[ENDPOINT] - before) / len(swarm.clients) / took
    deadline = time.monotonic() + SETTLE
    heard = -1
    while heard != swarm.responses[ENDPOINT] and time.monotonic() < deadline:  # until a second passes in silence
        heard = swarm.responses[ENDPOINT]
        swarm.idle(1.0)
    swarm.history = None
    return pushes, _all_right(history, swarm.clients, expected)


def _all_right(history: History, clients: Sequence[Client], expected: Mapping[str, str]) -> bool:
    """Whether what each proxy was told, one response after the other, leaves every changed service with its newest address."""
    right = {key: _rightness(message, expected) for key, message in history.messages.items()}
    return all(_is_right([right[key] for key in history.told.get(client, ())], expected) for client in clients)


def _rightness(message: bytes, expected: Mapping[str, str]) -> dict[str, bool]:
    """Of each service in a response: whether it has its newest address."""
    found = {}
    for item in DeltaDiscoveryResponse.FromString(message).resources:
        assignment = ClusterLoadAssignment.FromString(item.resource.value)
        addresses = {
            endpoint.endpoint.address.socket_address.address for locality in assignment.endpoints for endpoint in locality.lb_endpoints
        }
        found[item.name] = expected.get(item.name) in addresses
    return found


def _is_right(told: Sequence[Mapping[str, bool]], expected: Mapping[str, str]) -> bool:
    unknown = set(expected)
    for response in reversed(told):
        known = unknown & response.keys()
        if not all(response[name] for name in known):
            return False
        unknown -= known
        if not unknown:
            return True
    return False
