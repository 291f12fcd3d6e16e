# SPDX-License-Identifier: Apache-2.0
"""The server's door over real gRPC and TLS: who gets in, and how streams end."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any, cast

import grpc
import grpc.aio
import pytest

from common.identity.tls import grpc_server_credentials
from common.mesh.names import TYPE_CLUSTER, TYPE_ENDPOINT
from pilot.api.ads import SERVICE
from pilot.api.connection import synchronization
from pilot.api.discovery import Discovery
from pilot.api.reports import Reports
from tests.running_citadel import identity_of, new_authority, part_identity
from tests.running_discovery import running_discovery
from tests.unit.pilot.api.ads_client import AdsClient
from tests.unit.pilot.xds.worlds import World, WorldGenerator

AUTHORITY = new_authority()
WORLD = World(clusters={"a": "1"}, endpoints={"a": "10.0.0.1"})


class Server:
    def __init__(self, *, write_timeout: float = 30.0) -> None:
        self.generator = WorldGenerator()
        self.discovery = Discovery(
            cast(Any, self.generator), build_push=cast(Any, self.build), interval=0.02, check=True, write_timeout=write_timeout
        )
        self.tls = self.plain = ""
        self.fails = False

    def build(self, world: World, previous: World | None) -> World:
        if self.fails:
            raise RuntimeError("no snapshot can be made of this")
        return world

    async def serve(self, world: World) -> None:
        self.discovery.changed(cast(Any, lambda: world))
        await self.discovery.until_published()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Server]:
        reports = Reports(lambda key, **_: None, lambda key: None)
        secure = ("127.0.0.1:0", grpc_server_credentials(part_identity(AUTHORITY, "pilot")))
        async with running_discovery(self.discovery, reports, secure, ("127.0.0.1:0", None)) as (self.tls, self.plain):
            yield self


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with Server().running() as running:
        yield running


async def test_nobody_is_answered_before_there_is_a_snapshot(server: Server) -> None:
    async with AdsClient.connected(server.tls, identity_of(AUTHORITY, "default", "sleep")) as client:
        code, details = await client.refusal()
    assert code is grpc.StatusCode.UNAVAILABLE and "no configuration yet" in details


async def test_a_proxy_with_its_own_certificate_is_served(server: Server) -> None:
    await server.serve(WORLD)
    async with AdsClient.connected(server.tls, identity_of(AUTHORITY, "default", "sleep")) as client:
        await client.ask(TYPE_CLUSTER)
        response = await client.hear()
        assert [resource.name for resource in response.resources] == ["a"]
        await client.ack(response)
        await client.ask(TYPE_ENDPOINT, ["a"])
        await client.ack(await client.hear())
        await server.serve(WORLD.but(endpoints={"a": "10.0.0.2"}))
        assert b"10.0.0.2" in (await client.hear()).resources[0].resource.value


@pytest.mark.parametrize(("namespace", "account"), [("other", "sleep"), ("default", "root")])
async def test_a_proxy_cannot_ask_as_somebody_else(server: Server, namespace: str, account: str) -> None:
    await server.serve(WORLD)
    async with AdsClient.connected(server.tls, identity_of(AUTHORITY, "default", "sleep"), namespace=namespace, account=account) as client:
        await client.ask(TYPE_CLUSTER)
        code, details = await client.refusal()
    assert code is grpc.StatusCode.PERMISSION_DENIED and "spiffe://cluster.local/ns/default/sa/sleep" in details


async def test_a_proxy_cannot_take_labels_that_its_token_did_not_allow(server: Server) -> None:
    await server.serve(WORLD)
    identity = identity_of(AUTHORITY, "default", "sleep", label_bounds={"app": "sleep"})
    async with AdsClient.connected(server.tls, identity) as client:  # it names no labels
        await client.ask(TYPE_CLUSTER)
        code, details = await client.refusal()
    assert code is grpc.StatusCode.PERMISSION_DENIED and "label app must be 'sleep'" in details
    assert not server.discovery.connections


async def test_a_certificate_of_another_mesh_does_not_connect(server: Server) -> None:
    await server.serve(WORLD)
    stranger = identity_of(new_authority(), "default", "sleep")
    async with AdsClient.connected(server.tls, stranger) as client:
        with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
            await client.ask(TYPE_CLUSTER)
        code, _ = await client.refusal()
    assert code is grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize("node_id", ["nonsense", "sidecar~1.2.3.4~x.y"])
async def test_a_node_that_cannot_be_read_is_told_so(server: Server, node_id: str) -> None:
    await server.serve(WORLD)
    async with AdsClient.connected(server.tls, identity_of(AUTHORITY, "default", "sleep"), node_id=node_id) as client:
        await client.ask(TYPE_CLUSTER)
        code, details = await client.refusal()
    assert code is grpc.StatusCode.INVALID_ARGUMENT and node_id in details


async def test_bytes_that_are_no_request_end_the_stream(server: Server) -> None:
    await server.serve(WORLD)
    async with grpc.aio.insecure_channel(server.plain) as channel:
        call: Any = channel.stream_stream(f"/{SERVICE}/DeltaAggregatedResources")()
        await call.write(b"\xff\xff\xff\xff")
        assert await call.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_plaintext_streams_are_served_where_that_port_is_open(server: Server) -> None:
    await server.serve(WORLD)
    async with AdsClient.connected(server.plain, None, namespace="anything") as client:
        await client.ask(TYPE_CLUSTER)
        assert len((await client.hear()).resources) == 1


async def test_other_services_are_unknown(server: Server) -> None:
    async with grpc.aio.insecure_channel(server.plain) as channel:
        method: Any = channel.unary_unary("/envoy.service.discovery.v3.SecretDiscoveryService/FetchSecrets")
        call = method(b"")
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await call
    assert error.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_a_snapshot_that_cannot_be_built_leaves_the_one_before(server: Server) -> None:
    await server.serve(WORLD)
    async with AdsClient.connected(server.plain, None) as client:
        await client.ask(TYPE_CLUSTER)
        await client.ack(await client.hear())
        before = server.discovery.epoch
        server.fails = True
        server.discovery.changed(cast(Any, lambda: WORLD.but(clusters={})))
        await asyncio.sleep(0.1)
        assert server.discovery.epoch is before
        server.fails = False
        await server.serve(WORLD.but(clusters={"a": "2"}))
        assert len((await client.hear()).resources) == 1


async def test_connections_are_counted_and_forgotten(server: Server) -> None:
    await server.serve(WORLD)
    async with AdsClient.connected(server.plain, None) as client:
        await client.ask(TYPE_CLUSTER)
        await client.hear()
        (connection,) = server.discovery.connections.values()
        assert synchronization(connection)["states"]["cluster"] == {"state": "STALE"}
        assert synchronization(connection)["proxy"] == "sleep-1.default"
    async with asyncio.timeout(5):
        while server.discovery.connections:
            await asyncio.sleep(0.01)


async def test_a_proxy_that_takes_nothing_is_cut_off() -> None:
    """Its flow-control window fills, the write does not end, and the sweep finds it."""
    big = World(clusters={f"cluster-{number}": "x" * 1000 for number in range(3000)})
    async with Server(write_timeout=0.2).running() as server:
        await server.serve(big)
        options = [("grpc.http2.lookahead_bytes", 1024), ("grpc.http2.bdp_probe", 0)]
        async with grpc.aio.insecure_channel(server.plain, options=options) as channel:
            from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest

            call: Any = channel.stream_stream(f"/{SERVICE}/DeltaAggregatedResources")()
            request = DeltaDiscoveryRequest(type_url=TYPE_CLUSTER)
            request.node.id = "sidecar~127.0.0.1~slow-1.default~default.svc.cluster.local"
            request.node.metadata.update({"NAMESPACE": "default", "SERVICE_ACCOUNT": "slow"})
            await call.write(request.SerializeToString())
            async with asyncio.timeout(5):
                while not server.discovery.connections:
                    await asyncio.sleep(0.01)
                while server.discovery.connections:  # and it never reads
                    await asyncio.sleep(0.05)


async def test_many_proxies_get_a_change(server: Server) -> None:
    await server.serve(WORLD)
    async with contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(AdsClient.connected(server.plain, None, account=f"a{n}")) for n in range(40)]
        for client in clients:
            await client.ask(TYPE_CLUSTER)
        for client in clients:
            await client.ack(await client.hear())
        server.generator.generated.clear()
        await server.serve(WORLD.but(clusters={"a": "2"}))
        for client in clients:
            assert len((await client.hear()).resources) == 1
        keys = [key for key in server.generator.generated if key.type_url == TYPE_CLUSTER]
        assert len(keys) <= 2, "made once for all (and once more by the check)"
