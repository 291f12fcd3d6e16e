# SPDX-License-Identifier: Apache-2.0
"""Pilot's ADS server in this process, a real Envoy that asks it, servers to route to, and a client that asks through Envoy."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import httpx

from common.config.resource import ResourceKey
from common.lifecycle.http import address_of, bind
from common.mesh.names import TYPE_LISTENER
from common.registration.reporter import Verdict
from pilot.api.connection import Connection
from pilot.api.discovery import Discovery
from pilot.api.reports import Reports
from pilot.xds.subscription import SyncState
from tests.running_discovery import running_discovery

ABSENT = ("sds-grpc", "mixer-check", "mixer-report")
"""Clusters that generated listeners name, and nobody serves here."""
ENVOY = Path(__file__).parents[3] / ".venv/bin/envoy"


class Pilot:
    """Discovery and its ADS server, without the parts around them."""

    def __init__(self, address: str, discovery: Discovery) -> None:
        self.verdicts: list[tuple[str, Verdict, str]] = []
        self.discovery = discovery
        self.address = address

    def serve(self, mesh: Any) -> None:
        """Publish what the discovery's `build_push` makes a snapshot of."""
        self.discovery.changed(lambda: mesh)

    def _report(self, key: ResourceKey, *, verdict: Verdict, message: str = "", **_: Any) -> None:
        self.verdicts.append((key.name, verdict, message))  # of the condition Rejected

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Pilot]:
        reports = Reports(self._report, lambda key: "1")
        async with running_discovery(self.discovery, reports, (self.address, None)) as (self.address,):
            yield self

    @property
    def connection(self) -> Connection:
        """That of the one proxy."""
        (connection,) = self.discovery.connections.values()
        return connection

    @property
    def asked(self) -> bool:
        """Whether the proxy has asked for listeners."""
        return any(TYPE_LISTENER in each.stream.subscriptions for each in self.discovery.connections.values())

    def state(self, type_url: str) -> SyncState:
        return self.connection.stream.subscriptions[type_url].state


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
async def envoy(
    folder: Path, xds: str, *, delta: bool, environment: Mapping[str, str] = MappingProxyType({}), **metadata: Any
) -> AsyncIterator[None]:
    """One that runs while the block lasts, with `metadata` in its node, and `environment` in its environment, beside what every proxy has."""
    host, port = xds.rsplit(":", 1)
    source = {"api_type": "DELTA_GRPC" if delta else "GRPC", "transport_api_version": "V3", "set_node_on_first_message_only": True}
    bootstrap = {
        "node": {
            "id": "sidecar~127.0.0.1~web-1.default~default.svc.cluster.local",
            "cluster": "web",
            "metadata": {"NAMESPACE": "default", "SERVICE_ACCOUNT": "web", "INTERCEPTION_MODE": "NONE", **metadata},
        },
        "dynamic_resources": {
            "ads_config": {**source, "grpc_services": [{"envoy_grpc": {"cluster_name": "xds-grpc"}}]},
            "cds_config": {"ads": {}, "resource_api_version": "V3"},
            "lds_config": {"ads": {}, "resource_api_version": "V3"},
        },
        "static_resources": {
            "clusters": [_cluster("xds-grpc", host, int(port)), *(_cluster(name, host, 9) for name in ABSENT)],
        },
    }
    path = folder / "bootstrap.json"
    path.write_text(json.dumps(bootstrap))
    with (folder / "envoy.log").open("wb") as log:
        arguments = ["--disable-hot-restart", "--concurrency", "1", "--drain-time-s", "1", "-l", "warning"]
        process = await asyncio.create_subprocess_exec(
            str(ENVOY), "-c", str(path), *arguments, stdout=log, stderr=log, env={**os.environ, **environment}
        )
    try:
        yield
        assert process.returncode is None, (folder / "envoy.log").read_text()[-3000:]
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


def _cluster(name: str, host: str, port: int) -> dict[str, Any]:
    endpoint = {"address": {"socket_address": {"address": host, "port_value": port}}}
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "1s",
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": {"http2_protocol_options": {}},
            }
        },
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [{"endpoint": endpoint}]}]},
    }


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

    def __init__(self, port: int, host: str = "") -> None:
        self._headers: Mapping[str, str] = {"host": host} if host else {}
        self._url = f"http://127.0.0.1:{port}/"
        self._http = httpx.AsyncClient(timeout=15)
        self.seen: Counter[str] = Counter()

    async def get(self) -> str:
        try:
            answer = await self._http.get(self._url, headers=self._headers)
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
