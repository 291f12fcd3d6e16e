# SPDX-License-Identifier: Apache-2.0
"""The simulated proxies against a server that speaks ADS by grpc.aio: they ask, follow names and acknowledge as Envoy does."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
import pytest
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import HttpConnectionManager
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse

from tests.benchmarks.xds_clients.mesh import Mesh, address
from tests.benchmarks.xds_clients.messages import CLUSTER, ENDPOINT, LISTENER, METHOD, ROUTE, SHORT, Reader
from tests.benchmarks.xds_clients.swarm import Identity, Swarm

SERVICES = 3000  # their names are more than HTTP/2's first window, and their clusters more than one frame
MESH = Mesh(namespaces=2, services=SERVICES, proxies=3)


def resources(type_url: str, names: list[str]) -> dict[str, Any]:
    if type_url == CLUSTER:
        return {f"c{number}": Cluster(name=f"c{number}", type=Cluster.EDS) for number in range(SERVICES)}
    if type_url == LISTENER:
        manager = HttpConnectionManager(stat_prefix="x")
        manager.rds.route_config_name = "web"
        listener = Listener(name="l")
        listener.filter_chains.add().filters.add(name="manager").typed_config.Pack(manager)
        return {"l": listener}
    if type_url == ENDPOINT:
        return {name: ClusterLoadAssignment(cluster_name=name) for name in names}
    return {name: RouteConfiguration(name=name) for name in names}


class Server:
    """Answers every subscription; keeps what was said, without the names."""

    def __init__(self, variant: str) -> None:
        self.delta = variant == "delta"
        self.heard: list[tuple[str, str, int]] = []
        self.nodes: set[str] = set()
        self.held: list[tuple[str, dict[str, str]]] = []

    async def converse(self, _: object, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        asked: set[str] = set()
        while isinstance(raw := await context.read(), bytes):
            request: Any = (DeltaDiscoveryRequest if self.delta else DiscoveryRequest).FromString(raw)
            names = list(request.resource_names_subscribe if self.delta else request.resource_names)
            if request.HasField("node"):
                self.nodes.add(request.node.id)
            if self.delta and request.initial_resource_versions:
                self.held.append((SHORT[request.type_url], dict(request.initial_resource_versions)))
            self.heard.append((SHORT[request.type_url], request.response_nonce, len(names)))
            if request.type_url in asked:
                continue
            asked.add(request.type_url)
            await context.write(self.answer(request.type_url, resources(request.type_url, names)))

    def answer(self, type_url: str, found: dict[str, Any]) -> bytes:
        if not self.delta:
            whole = DiscoveryResponse(version_info="7", nonce=f"nonce-{SHORT[type_url]}", type_url=type_url)
            for message in found.values():
                whole.resources.add().Pack(message)
            return whole.SerializeToString()
        response = DeltaDiscoveryResponse(nonce=f"nonce-{SHORT[type_url]}", type_url=type_url)
        for name, message in found.items():
            response.resources.add(name=name, version="1").resource.Pack(message)
        return response.SerializeToString()

    @contextlib.asynccontextmanager
    async def serving(self, variant: str) -> AsyncIterator[int]:
        handler: Any = grpc.stream_stream_rpc_method_handler(self.converse)

        class Handlers(grpc.GenericRpcHandler):
            def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
                return handler if handler_call_details.method == METHOD[variant] else None

        server = grpc.aio.server(handlers=(Handlers(),), options=(("grpc.so_reuseport", 0),))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        try:
            yield port
        finally:
            await server.stop(0)


@pytest.mark.parametrize("variant", ["delta", "sotw"])
async def test_clients_follow_names_and_acknowledge(variant: str) -> None:
    server = Server(variant)
    async with server.serving(variant) as port:
        with Swarm(("127.0.0.1", port), variant=variant) as swarm:
            swarm.connect(Identity(MESH.node(number)) for number in range(MESH.proxies))
            synced = await asyncio.to_thread(swarm.until_synced, 10)
            assert synced.missing == 0 and not swarm.closed
            await asyncio.to_thread(swarm.idle, 0.2)
            assert swarm.responses == dict.fromkeys((CLUSTER, ENDPOINT, LISTENER, ROUTE), 3)
    assert server.nodes == {MESH.node(number).id for number in range(3)}
    repeats = variant == "sotw"
    expected = {
        ("cds", "", 0): 3,
        ("cds", "nonce-cds", 0): 3,
        ("eds", "", SERVICES): 3,
        ("eds", "nonce-eds", SERVICES if repeats else 0): 3,
        ("lds", "", 0): 3,
        ("lds", "nonce-lds", 0): 3,
        ("rds", "", 1): 3,
        ("rds", "nonce-rds", 1 if repeats else 0): 3,
    }
    assert {said: server.heard.count(said) for said in set(server.heard)} == expected


async def test_clients_that_connect_again_say_what_they_hold() -> None:
    server = Server("delta")
    async with server.serving("delta") as port:
        with Swarm(("127.0.0.1", port), variant="delta") as swarm:
            swarm.remembers = True
            swarm.connect([Identity(MESH.node(0))])
            assert (await asyncio.to_thread(swarm.until_synced, 10)).missing == 0 and not server.held
            swarm.reconnect()
            swarm.expect({type_url: lambda message: True for type_url in (CLUSTER, ENDPOINT, LISTENER, ROUTE)})
            assert (await asyncio.to_thread(swarm.until_met, 10)).missing == 0 and not swarm.closed
    names = dict.fromkeys((f"c{number}" for number in range(SERVICES)), "1")
    assert sorted(server.held) == [("cds", names), ("eds", names), ("lds", {"l": "1"}), ("rds", {"web": "1"})]


async def test_a_refused_stream_is_told() -> None:
    server = Server("delta")
    async with server.serving("sotw") as port:
        with Swarm(("127.0.0.1", port), variant="delta") as swarm:
            swarm.connect([Identity(MESH.node(0))])
            found = await asyncio.to_thread(swarm.until_synced, 10)
            assert found.missing == 1 and sum(swarm.closed.values()) == 1


def test_a_mesh_is_what_its_numbers_say() -> None:
    mesh = Mesh(namespaces=4, services=10, endpoints=2, proxies=5, visible=3, ports=(80, 90))
    documents = list(mesh.documents())
    assert [sum(document["kind"] == kind for document in documents) for kind in ("Service", "WorkloadEntry", "Sidecar")] == [10, 20, 4]
    assert len({(document["kind"], *sorted(document["metadata"].items())) for document in documents}) == len(documents)
    assert {service.port for service in mesh.all_services()} == {80, 90}
    assert len({mesh.node(number).metadata["SERVICE_ACCOUNT"] for number in range(5)}) == 5


def test_addresses_of_all_endpoints_and_generations_differ() -> None:
    found = [address(number, generation) for number in range(0, 60_000, 7) for generation in (0, 1, 200)]
    assert len(set(found)) == len(found)


def test_a_common_beginning_is_read_once_and_makes_no_difference() -> None:
    def response(*names: str, removed: tuple[str, ...] = (), nonce: str = "1") -> bytes:
        message = DeltaDiscoveryResponse(system_version_info="7", type_url=CLUSTER, nonce=nonce, removed_resources=removed)
        for name in names:
            item = message.resources.add(name=name, version="1")
            item.resource.Pack(Cluster(name=name, type=Cluster.EDS if name.startswith("out") else Cluster.STATIC))
        return message.SerializeToString()

    many = [f"outbound-{number}" for number in range(200)]
    messages = [
        response(*many, "inbound-1"),
        response(*many, "inbound-2", removed=("outbound-gone",), nonce="22"),
        response(*many[:-1], "inbound-3", "outbound-new"),
        response(*many[:100]),
    ]
    reader = Reader("delta")
    for message in messages:
        assert reader.read(CLUSTER, bytearray(message)) == Reader("delta").read(CLUSTER, message)
    assert reader.read(CLUSTER, messages[1]).removed == ("outbound-gone",)
    assert reader.read(CLUSTER, messages[2]).references["outbound-new"] == ("outbound-new",)
