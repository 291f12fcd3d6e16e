# SPDX-License-Identifier: Apache-2.0
"""One real Envoy with our filter and access log in a static bootstrap, the application behind it, and a Mixer whose decisions a test scripts."""

from __future__ import annotations

import asyncio
import json
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx
from envoy.config.bootstrap.v3 import bootstrap_pb2
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.listener.v3 import listener_components_pb2, listener_pb2
from envoy.config.route.v3 import route_components_pb2, route_pb2
from envoy.extensions.filters.http.router.v3 import router_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2 as hcm_pb2
from google.protobuf import json_format

from common.identity.spiffe import SpiffeId
from mixer.api.attributes_of_peers import PeerAttributes
from mixer.api.fast_check import FastCheck
from mixer.api.http1 import serve_fast_check
from mixer.dispatch.result import CheckResult, QuotaRequest
from pilot.networking.mixerclient import (
    SERVICE_METADATA,
    MeshService,
    RouteCheck,
    http_access_logs,
    http_filters,
    per_route,
    service_metadata,
)
from pilot.networking.mixerclient.check import pack

RATINGS = SpiffeId("cluster.local", "default", "ratings")
SERVICE = MeshService(host="ratings.default.svc.cluster.local", name="ratings", namespace="default")
SECOND = MeshService(host="stars.default.svc.cluster.local", name="stars", namespace="default")
ENVOY = Path(sys.executable).with_name("envoy")

Decide = Callable[[Mapping[str, Any], Mapping[str, QuotaRequest]], CheckResult]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class NoWorkloads:
    """An index that knows nobody."""

    def at(self, address: bytes) -> None:
        return None

    def of_account(self, namespace: str, service_account: str) -> None:
        return None


class ScriptedMixer:
    """The fast Check listener with a runtime that a test scripts. It may be stopped and started on the same port."""

    def __init__(self) -> None:
        self.port = free_port()
        self.asked: list[Mapping[str, Any]] = []
        self.quotas: list[Mapping[str, QuotaRequest]] = []
        self.decide: Decide = lambda bag, quotas: CheckResult()
        self.epoch = "1"
        self.headers: Sequence[str] | None = None
        self._stop: Callable[[], Awaitable[None]] | None = None

    async def check(self, bag: Mapping[str, Any], *, quotas: Mapping[str, QuotaRequest] | None = None, track: bool = False) -> CheckResult:
        assert track
        self.asked.append(bag)
        self.quotas.append(quotas or {})
        return self.decide(bag, quotas or {})

    async def start(self) -> None:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", self.port))
        fast = FastCheck(self, PeerAttributes(NoWorkloads()), epoch=lambda: self.epoch, headers=lambda: self.headers)
        serving = serve_fast_check(fast.answer, listener, tls=None, identify=lambda transport: RATINGS, grace=0.5)
        await serving.__aenter__()

        async def stop() -> None:
            await serving.__aexit__(None, None, None)

        self._stop = stop

    async def stop(self) -> None:
        if self._stop is not None:
            await self._stop()
            self._stop = None


@asynccontextmanager
async def application() -> AsyncIterator[int]:
    """Answers every request with its method, path and headers in JSON."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                headers = dict(line.lower().split(": ", 1) for line in head[1:] if ": " in line)
                if length := int(headers.get("content-length", "0")):
                    await reader.readexactly(length)
                body = json.dumps({"request": head[0], "headers": headers}).encode()
                writer.write(
                    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx-secret: yes\r\ncontent-length: %d\r\n\r\n%b"
                    % (len(body), body)
                )
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


class Ports(NamedTuple):
    admin: int
    mesh: int
    application: int
    check: int
    report: int


def bootstrap(ports: Ports, routes: Mapping[str, RouteCheck | None]) -> bootstrap_pb2.Bootstrap:
    """A bootstrap in which each host name of `routes` is a virtual host; None gives it no route configuration for the filter."""
    hosts = [route_components_pb2.VirtualHost(name=name, domains=[name], routes=[_route(check)]) for name, check in routes.items()]
    manager = hcm_pb2.HttpConnectionManager(
        stat_prefix="mesh",
        http_filters=[*http_filters(), hcm_pb2.HttpFilter(name="envoy.filters.http.router", typed_config=pack(router_pb2.Router()))],
        route_config=route_pb2.RouteConfiguration(name="mesh", virtual_hosts=hosts),
        access_log=http_access_logs("inbound"),
    )
    chain = listener_components_pb2.FilterChain(
        filters=[listener_components_pb2.Filter(name="envoy.filters.network.http_connection_manager", typed_config=pack(manager))]
    )
    config = bootstrap_pb2.Bootstrap()
    config.node.id, config.node.cluster = "sidecar~127.0.0.1~ratings-v1.default~default.svc.cluster.local", "ratings"
    config.admin.address.socket_address.address, config.admin.address.socket_address.port_value = "127.0.0.1", ports.admin
    listener = listener_pb2.Listener(name="mesh", filter_chains=[chain])
    listener.address.socket_address.address, listener.address.socket_address.port_value = "127.0.0.1", ports.mesh
    config.static_resources.listeners.append(listener)
    config.static_resources.clusters.extend(
        [
            _cluster("inbound|9080|http|ratings.default.svc.cluster.local", ports.application),
            _cluster("mixer-check", ports.check),
            _cluster("mixer-report", ports.report, http2=True),
        ]
    )
    return config


def _route(check: RouteCheck | None) -> route_components_pb2.Route:
    route = route_components_pb2.Route()
    route.match.prefix = "/"
    route.route.cluster = "inbound|9080|http|ratings.default.svc.cluster.local"
    if check is not None:
        route.metadata.filter_metadata[SERVICE_METADATA].CopyFrom(service_metadata(check.services[0]))
        for name, config in per_route(check).items():
            route.typed_per_filter_config[name].CopyFrom(config)
    return route


def _cluster(name: str, port: int, *, http2: bool = False) -> cluster_pb2.Cluster:
    cluster = cluster_pb2.Cluster(name=name, type=cluster_pb2.Cluster.STATIC)
    cluster.connect_timeout.seconds = 1
    cluster.load_assignment.cluster_name = name
    address = cluster.load_assignment.endpoints.add().lb_endpoints.add().endpoint.address.socket_address
    address.address, address.port_value = "127.0.0.1", port
    if http2:
        from envoy.extensions.upstreams.http.v3 import http_protocol_options_pb2

        options = http_protocol_options_pb2.HttpProtocolOptions()
        options.explicit_http_config.http2_protocol_options.SetInParent()
        cluster.typed_extension_protocol_options["envoy.extensions.upstreams.http.v3.HttpProtocolOptions"].CopyFrom(pack(options))
    return cluster


class Mesh:
    """A running Envoy, and a client of it."""

    def __init__(self, ports: Ports, client: httpx.AsyncClient) -> None:
        self.ports, self.client = ports, client

    async def get(self, host: str, path: str = "/", headers: Mapping[str, str] | None = None) -> httpx.Response:
        return await self.client.get(f"http://127.0.0.1:{self.ports.mesh}{path}", headers={"host": host, **(headers or {})})

    async def counter(self, name: str) -> int:
        text = (await self.client.get(f"http://127.0.0.1:{self.ports.admin}/stats?filter={name}")).text
        return sum(int(line.rpartition(": ")[2]) for line in text.splitlines())


@asynccontextmanager
async def envoy(directory: Path, config: bootstrap_pb2.Bootstrap, ports: Ports, *, concurrency: int = 1) -> AsyncIterator[Mesh]:
    path = directory / "envoy.json"
    path.write_text(json_format.MessageToJson(config, preserving_proto_field_name=True))
    with (directory / "envoy.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            str(ENVOY), "-c", str(path), "--disable-hot-restart", "--concurrency", str(concurrency), "-l", "warning", stdout=log, stderr=log
        )
    try:
        async with httpx.AsyncClient(timeout=10) as client:
            await _until_live(client, ports.admin)
            yield Mesh(ports, client)
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def _until_live(client: httpx.AsyncClient, admin: int) -> None:
    for _ in range(200):
        try:
            if (await client.get(f"http://127.0.0.1:{admin}/ready")).status_code == 200:
                return
        except httpx.TransportError:
            pass
        await asyncio.sleep(0.05)
    raise TimeoutError("Envoy did not become ready within 10 s; see envoy.log in the test's directory")
