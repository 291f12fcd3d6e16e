# SPDX-License-Identifier: Apache-2.0
"""The ADS server against a real Envoy, with a hand-made generator: what reaches the data plane, in both variants of the protocol."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Collection, Hashable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.core.v3.config_source_pb2 import ApiVersion
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.filters.http.router.v3.router_pb2 import Router
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import HttpConnectionManager

from common.config.resource import ResourceKey
from common.mesh.names import TYPE_CLUSTER, TYPE_ENDPOINT, TYPE_LISTENER, TYPE_ROUTE
from common.registration.reporter import Verdict
from pilot.api.discovery import Discovery
from pilot.networking.generator import Generated, GroupKey
from pilot.xds.subscription import SyncState
from tests.integration.pilot.served_envoy import Client, Pilot, backend, envoy, eventually, free_port

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

    def regenerate(self, push: Mesh, key: GroupKey, /) -> tuple[Generated, ...]:
        return self.generate(push, key)

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


def new_pilot(address: str = "127.0.0.1:0") -> Pilot:
    return Pilot(address, Discovery(cast(Any, MeshGenerator()), build_push=cast(Any, lambda mesh, previous: mesh), check=True))


@pytest.fixture(params=[True, False], ids=["delta", "sotw"])
def delta(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


async def test_a_change_reaches_envoy(tmp_path: Path, delta: bool) -> None:
    async with backend("a") as a, backend("b") as b, new_pilot().running() as pilot:
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
    async with backend("a") as a, new_pilot().running() as pilot:
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
            assert not pilot.connection.stream.subscriptions[TYPE_CLUSTER].ghosts, "what is gone has been removed in the end"


async def test_a_refused_resource_is_isolated_and_named_and_the_others_flow(tmp_path: Path, delta: bool) -> None:
    async with backend("a") as a, backend("b") as b, new_pilot().running() as pilot:
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
            sent = pilot.connection.stream.subscriptions[TYPE_CLUSTER].nonce_sent
            await asyncio.sleep(0.5)
            assert pilot.connection.stream.subscriptions[TYPE_CLUSTER].nonce_sent == sent, "no push loop"
            pilot.serve(Mesh(port, {"v0": (a,), **names}, "new7"))  # mended: it flows again
            await eventually(lambda: pilot.state(TYPE_CLUSTER) is SyncState.SYNCED)
            await eventually(client.answers("b"))
            assert [verdict for name, verdict, _ in pilot.verdicts if name == "new7"][-1] is Verdict.FALSE


async def test_traffic_survives_a_restart_of_pilot_and_the_next_one_is_found(tmp_path: Path, delta: bool) -> None:
    async with backend("a") as a, backend("b") as b:
        port = free_port()
        first = new_pilot(f"127.0.0.1:{free_port()}")
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
                second = new_pilot(first.address)
                async with second.running():
                    await asyncio.sleep(0.3)
                    assert not second.discovery.connections, "no stream is answered before there is a snapshot"
                    second.serve(Mesh(port, {"old": (a,), "new": (b,)}, "new"))
                    await eventually(client.answers("b"), 30)
                    await eventually(lambda: second.state(TYPE_CLUSTER) is SyncState.SYNCED)
            assert set(client.seen) == {"a", "b"}, client.seen
