# SPDX-License-Identifier: Apache-2.0
"""The ADS server against a real Envoy, with a hand-made generator: what reaches the data plane, in both variants of the protocol."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Hashable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.core.v3.config_source_pb2 import ApiVersion
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.filters.http.router.v3.router_pb2 import Router
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import HttpConnectionManager

from common.config.resource import ResourceKey
from common.lifecycle.grpc import bind_grpc, grpc_server
from common.lifecycle.http import address_of, bind
from common.mesh.names import TYPE_CLUSTER, TYPE_ENDPOINT, TYPE_LISTENER, TYPE_ROUTE
from common.registration.reporter import Verdict
from pilot.api.ads import AggregatedDiscovery
from pilot.api.discovery import Discovery
from pilot.api.reports import Reports
from pilot.networking.generator import Generated, GroupKey
from pilot.xds.queue import Admission
from pilot.xds.subscription import SyncState

ENVOY = Path(__file__).parents[3] / ".venv/bin/envoy"
ROUTE = "web"


@dataclass(frozen=True)
class Mesh:
    """One listener, one route configuration, some EDS clusters."""

    listener_port: int
    clusters: Mapping[str, tuple[int, ...]]
    """Cluster -> ports of its endpoints on loopback."""
    route_to: str
    refused: frozenset[str] = frozenset()
    """Clusters that Envoy will not take."""
    resources: Mapping[str, Any] = field(default_factory=dict)


class MeshGenerator:
    def plan(self, push: Mesh, proxy: object, type_url: str, names: Collection[str] | None, /) -> tuple[GroupKey, ...]:
        if names is None:
            return (GroupKey(type_url, "all", cast(Any, ())),)
        return tuple([GroupKey(type_url, "one", cast(Any, (name,))) for name in sorted(names)])

    def fingerprint(self, push: Mesh, key: GroupKey, /) -> Hashable:
        return tuple((made.name, made.body) for made in self.generate(push, key))

    def generate(self, push: Mesh, key: GroupKey, /) -> tuple[Generated, ...]:
        def made(name: str, message: Any) -> Generated:
            return Generated(name, message.SerializeToString(deterministic=True), (ResourceKey("tests", "default", name),))

        if key.type_url == TYPE_CLUSTER:
            return tuple(made(name, _cluster(name, refused=name in push.refused)) for name in sorted(push.clusters))
        if key.type_url == TYPE_LISTENER:
            return (made("web", _listener(push.listener_port)),)
        name = str(key.parts[0])
        if key.type_url == TYPE_ENDPOINT:
            return (made(name, _assignment(name, push.clusters.get(name, ()))),)
        return (made(name, _route(name, push.route_to)),)


def _cluster(name: str, *, refused: bool) -> Cluster:
    cluster = Cluster(name=name, type=Cluster.EDS)
    cluster.connect_timeout.FromMilliseconds(1000)
    cluster.eds_cluster_config.eds_config.ads.SetInParent()
    cluster.eds_cluster_config.eds_config.resource_api_version = ApiVersion.V3
    if refused:
        cluster.lb_policy = Cluster.CLUSTER_PROVIDED
    return cluster


def _assignment(name: str, ports: tuple[int, ...]) -> ClusterLoadAssignment:
    assignment = ClusterLoadAssignment(cluster_name=name)
    locality = assignment.endpoints.add()
    for port in ports:
        address = locality.lb_endpoints.add().endpoint.address.socket_address
        address.address, address.port_value = "127.0.0.1", port
    return assignment


def _route(name: str, cluster: str) -> RouteConfiguration:
    route = RouteConfiguration(name=name)
    route.validate_clusters.value = False
    host = route.virtual_hosts.add(name="all", domains=["*"])
    to = host.routes.add()
    to.match.prefix = "/"
    to.route.cluster = cluster
    return route


def _listener(port: int) -> Listener:
    manager = HttpConnectionManager(stat_prefix="web")
    manager.rds.route_config_name = ROUTE
    manager.rds.config_source.ads.SetInParent()
    manager.rds.config_source.resource_api_version = ApiVersion.V3
    manager.http_filters.add(name="envoy.filters.http.router").typed_config.Pack(Router())
    listener = Listener(name="web")
    listener.address.socket_address.address, listener.address.socket_address.port_value = "127.0.0.1", port
    listener.filter_chains.add().filters.add(name="envoy.filters.network.http_connection_manager").typed_config.Pack(manager)
    return listener


class Pilot:
    """Discovery and its ADS server, without the parts around them."""

    def __init__(self, address: str) -> None:
        self.verdicts: list[tuple[str, Verdict, str]] = []
        self.discovery = Discovery(cast(Any, MeshGenerator()), build_push=cast(Any, lambda mesh, previous: mesh), check=True)
        self.address = address

    def serve(self, mesh: Mesh) -> None:
        self.discovery.changed(cast(Any, lambda: mesh))

    def _report(self, key: ResourceKey, *, verdict: Verdict, message: str = "", **_: Any) -> None:
        self.verdicts.append((key.name, verdict, message))  # of the condition Rejected

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Pilot]:
        reports = Reports(self._report, lambda key: "1")
        server = grpc_server()
        admission = Admission(rate=1000, burst=1000)
        server.add_generic_rpc_handlers((AggregatedDiscovery(self.discovery, reports, trust_domain="cluster.local", admission=admission),))
        self.address = bind_grpc(server, self.address, None)
        await server.start()
        task = asyncio.create_task(self.discovery.run())
        try:
            yield self
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await server.stop(0)

    def state(self, type_url: str) -> SyncState:
        (connection,) = self.discovery.connections.values()
        return connection.stream.subscriptions[type_url].state


@contextlib.asynccontextmanager
async def backend(answer: str) -> AsyncIterator[int]:
    """An HTTP server that says its name; its port."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                await reader.readuntil(b"\r\n\r\n")
                writer.write(f"HTTP/1.1 200 OK\r\ncontent-length: {len(answer)}\r\n\r\n{answer}".encode())
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


@contextlib.asynccontextmanager
async def envoy(folder: Path, xds: str, *, delta: bool) -> AsyncIterator[None]:
    host, port = xds.rsplit(":", 1)
    source = {"api_type": "DELTA_GRPC" if delta else "GRPC", "transport_api_version": "V3", "set_node_on_first_message_only": True}
    bootstrap = {
        "node": {
            "id": "sidecar~127.0.0.1~web-1.default~default.svc.cluster.local",
            "cluster": "web",
            "metadata": {"NAMESPACE": "default", "SERVICE_ACCOUNT": "web", "INTERCEPTION_MODE": "NONE"},
        },
        "dynamic_resources": {
            "ads_config": {**source, "grpc_services": [{"envoy_grpc": {"cluster_name": "xds-grpc"}}]},
            "cds_config": {"ads": {}, "resource_api_version": "V3"},
            "lds_config": {"ads": {}, "resource_api_version": "V3"},
        },
        "static_resources": {
            "clusters": [
                {
                    "name": "xds-grpc",
                    "type": "STATIC",
                    "connect_timeout": "1s",
                    "typed_extension_protocol_options": {
                        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                            "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                            "explicit_http_config": {"http2_protocol_options": {}},
                        }
                    },
                    "load_assignment": {
                        "cluster_name": "xds-grpc",
                        "endpoints": [
                            {"lb_endpoints": [{"endpoint": {"address": {"socket_address": {"address": host, "port_value": int(port)}}}}]}
                        ],
                    },
                }
            ]
        },
    }
    path = folder / "bootstrap.json"
    path.write_text(json.dumps(bootstrap))
    with (folder / "envoy.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            str(ENVOY), "-c", str(path), "--disable-hot-restart", "--concurrency", "1", "-l", "warning", stdout=log, stderr=log
        )
    try:
        yield
        assert process.returncode is None, (folder / "envoy.log").read_text()[-3000:]
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


async def eventually(condition: Callable[[], Awaitable[bool]] | Callable[[], bool], within: float = 10.0) -> None:
    """By default in less than the 15 s after which Envoy goes on without what it waits for."""
    deadline = asyncio.get_running_loop().time() + within
    while True:
        result = condition()
        if await result if isinstance(result, Awaitable) else result:
            return
        assert asyncio.get_running_loop().time() < deadline, f"not within {within} s"
        await asyncio.sleep(0.02)


class Client:
    """Requests through Envoy's listener."""

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}/"
        self._http = httpx.AsyncClient(timeout=15)
        self.seen: Counter[str] = Counter()

    async def get(self) -> str:
        try:
            answer = await self._http.get(self._url)
        except httpx.HTTPError as error:
            return type(error).__name__
        return answer.text if answer.status_code == 200 else str(answer.status_code)

    def answers(self, expected: str) -> Callable[[], Awaitable[bool]]:
        async def check() -> bool:
            return await self.get() == expected

        return check

    @contextlib.asynccontextmanager
    async def asking_all_the_time(self) -> AsyncIterator[None]:
        async def ask() -> None:
            while True:
                self.seen[await self.get()] += 1

        tasks = [asyncio.create_task(ask()) for _ in range(3)]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


def free_port() -> int:
    with bind("127.0.0.1:0") as sock:
        return int(address_of(sock).rpartition(":")[2])


@pytest.fixture(params=[True, False], ids=["delta", "sotw"])
def delta(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


async def test_a_change_reaches_envoy(tmp_path: Path, delta: bool) -> None:
    async with backend("a") as a, backend("b") as b, Pilot("127.0.0.1:0").running() as pilot:
        port = free_port()
        pilot.serve(Mesh(port, {"one": (a,), "two": (b,)}, "one"))
        await pilot.discovery.until_published()
        async with envoy(tmp_path, pilot.address, delta=delta):
            client = Client(port)
            await eventually(client.answers("a"))
            pilot.serve(Mesh(port, {"one": (b,), "two": (b,)}, "one"))
            await eventually(client.answers("b"))
            pilot.serve(Mesh(port, {"one": (a,), "two": (b,)}, "one"))
            await eventually(client.answers("a"))
            pilot.serve(Mesh(port, {"one": (a,), "two": (b,)}, "two"))
            await eventually(client.answers("b"))
            for type_url in (TYPE_CLUSTER, TYPE_ENDPOINT, TYPE_LISTENER, TYPE_ROUTE):
                await eventually(lambda type_url=type_url: pilot.state(type_url) is SyncState.SYNCED)


async def test_no_request_fails_while_clusters_come_and_go(tmp_path: Path, delta: bool) -> None:
    async with backend("a") as a, Pilot("127.0.0.1:0").running() as pilot:
        port = free_port()
        pilot.serve(Mesh(port, {"v0": (a,)}, "v0"))
        await pilot.discovery.until_published()
        async with envoy(tmp_path, pilot.address, delta=delta):
            client = Client(port)
            await eventually(client.answers("a"))
            async with client.asking_all_the_time():
                for version in range(1, 9):
                    pilot.serve(Mesh(port, {f"v{version}": (a,)}, f"v{version}"))
                    await asyncio.sleep(0.15)
                await eventually(lambda: pilot.state(TYPE_CLUSTER) is SyncState.SYNCED)
                await asyncio.sleep(0.3)
            assert set(client.seen) == {"a"}, client.seen
            assert client.seen["a"] > 100
            (connection,) = pilot.discovery.connections.values()
            assert not connection.stream.subscriptions[TYPE_CLUSTER].ghosts, "what is gone has been removed in the end"


async def test_a_refused_resource_is_isolated_and_named_and_the_others_flow(tmp_path: Path, delta: bool) -> None:
    async with backend("a") as a, backend("b") as b, Pilot("127.0.0.1:0").running() as pilot:
        port = free_port()
        pilot.serve(Mesh(port, {"v0": (a,)}, "v0"))
        await pilot.discovery.until_published()
        async with envoy(tmp_path, pilot.address, delta=delta):
            client = Client(port)
            await eventually(client.answers("a"))
            names = {f"new{number}": (b,) for number in range(12)}
            pilot.verdicts.clear()
            pilot.serve(Mesh(port, {"v0": (a,), **names}, "new3", refused=frozenset({"new7"})))
            await eventually(client.answers("b"))
            await eventually(lambda: any(verdict is Verdict.TRUE for _, verdict, _ in pilot.verdicts))
            await eventually(lambda: pilot.state(TYPE_CLUSTER) is SyncState.REJECTED)
            assert {name for name, verdict, _ in pilot.verdicts if verdict is Verdict.TRUE} == {"new7"}
            (message,) = {text for name, verdict, text in pilot.verdicts if verdict is Verdict.TRUE}
            assert "CDS new7" in message and "cluster provided LB specified" in message
            (connection,) = pilot.discovery.connections.values()
            sent = connection.stream.subscriptions[TYPE_CLUSTER].nonce_sent
            await asyncio.sleep(0.5)
            assert connection.stream.subscriptions[TYPE_CLUSTER].nonce_sent == sent, "no push loop"
            pilot.serve(Mesh(port, {"v0": (a,), **names}, "new7"))  # mended: it flows again
            await eventually(lambda: pilot.state(TYPE_CLUSTER) is SyncState.SYNCED)
            await eventually(client.answers("b"))
            assert [verdict for name, verdict, _ in pilot.verdicts if name == "new7"][-1] is Verdict.FALSE


async def test_traffic_survives_a_restart_of_pilot_and_the_next_one_is_found(tmp_path: Path, delta: bool) -> None:
    async with backend("a") as a, backend("b") as b:
        port = free_port()
        first = Pilot(f"127.0.0.1:{free_port()}")
        async with first.running():
            first.serve(Mesh(port, {"old": (a,)}, "old"))
            await first.discovery.until_published()
            client = Client(port)
            envoys = contextlib.AsyncExitStack()
            await envoys.enter_async_context(envoy(tmp_path, first.address, delta=delta))
            await eventually(client.answers("a"))
        async with envoys:
            async with client.asking_all_the_time():
                await asyncio.sleep(0.3)
                assert set(client.seen) == {"a"}, "nobody at the helm, and traffic flows"
                second = Pilot(first.address)
                async with second.running():
                    await asyncio.sleep(0.3)
                    assert not second.discovery.connections, "no stream is answered before there is a snapshot"
                    second.serve(Mesh(port, {"old": (a,), "new": (b,)}, "new"))
                    await eventually(client.answers("b"), 30)
                    await eventually(lambda: second.state(TYPE_CLUSTER) is SyncState.SYNCED)
            assert set(client.seen) == {"a", "b"}, client.seen
