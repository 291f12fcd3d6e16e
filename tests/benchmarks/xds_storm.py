# SPDX-License-Identifier: Apache-2.0
"""A storm of endpoint changes: how often proxies are bothered by it, and whether they end up with what is true."""

from __future__ import annotations

import time

from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryResponse

from tests.benchmarks.xds_clients.messages import ENDPOINT
from tests.benchmarks.xds_clients.swarm import Swarm
from tests.benchmarks.xds_lab import Lab

SETTLE = 20.0  # seconds in which the last state must have come
AT_ONCE = 100  # changes in one request


def storm(lab: Lab, swarm: Swarm, *, seconds: float, changes: int) -> tuple[float, bool]:
    """`changes` a second for so long. Returns endpoint pushes a second for one proxy, and whether the first proxy's final state is right."""
    mesh = lab.mesh
    before = swarm.responses[ENDPOINT]
    swarm.history = []
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
    while not (right := _is_right(swarm.history, expected)) and time.monotonic() < deadline:
        swarm.idle(0.5)
    swarm.history = None
    return pushes, right


def _is_right(history: list[bytes], expected: dict[str, str]) -> bool:
    """Whether what the first proxy was told, one response after the other, leaves every changed service with its newest address."""
    bodies: dict[str, bytes] = {}
    for message in history:
        for item in DeltaDiscoveryResponse.FromString(message).resources:
            bodies[item.name] = item.resource.value
    for name, address in expected.items():
        if name not in bodies:
            return False
        assignment = ClusterLoadAssignment.FromString(bodies[name])
        if not any(
            endpoint.endpoint.address.socket_address.address == address
            for locality in assignment.endpoints
            for endpoint in locality.lb_endpoints
        ):
            return False
    return True
