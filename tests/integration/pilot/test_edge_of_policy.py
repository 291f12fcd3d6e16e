# SPDX-License-Identifier: Apache-2.0
"""What our HTTP connection managers make of a request before anything decides on it, on the real Envoy.

The application behind echoes what reaches it: that is what Mixer's filter, which stands before it, has seen.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format

from common.config.kinds.mesh import MeshConfig
from pilot.model.service import Protocol
from pilot.networking.filters import FilterChain, Manager, gateway_http, inbound_http
from tests.integration.mixer.data_plane import ENVOY, application, free_port

HOST = "127.0.0.1"
_ROUTES = {
    "name": "all",
    "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "application"}}]}],
}


def _listener(name: str, port: int) -> dict[str, Any]:
    """The chain as generated, with its routes and nowhere to report to."""
    chain = FilterChain()
    if name == "gateway":
        gateway_http(chain, MeshConfig(), stat_prefix=name, route_config="all", holds_script=False)
    else:
        inbound_http(chain, MeshConfig(), Protocol.HTTP, stat_prefix=name, route_config="all", mutual=False, holds_script=False)
    manager = Manager()
    chain.filters[0].typed_config.Unpack(manager)
    del manager.access_log[:]
    json_format.ParseDict(_ROUTES, manager.route_config)
    chain.filters[0].typed_config.Pack(manager)
    found = json_format.MessageToDict(chain, preserving_proto_field_name=True)
    return {"name": name, "address": {"socket_address": {"address": HOST, "port_value": port}}, "filter_chains": [found]}


class Edge:
    """A running Envoy with a listener `inbound` and one `gateway`."""

    def __init__(self, ports: dict[str, int]) -> None:
        self._ports = ports

    async def raw(self, listener: str, request: bytes) -> tuple[bytes, bytes]:
        """The first answer's head and body."""
        reader, writer = await asyncio.open_connection(HOST, self._ports[listener])
        try:
            writer.write(request)
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 15)
            length = next((int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0)
            return head, await reader.readexactly(length)
        finally:
            writer.close()

    async def seen(self, listener: str, path: str, **headers: str) -> dict[str, Any]:
        """The request line and headers that the application was sent."""
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        head, body = await self.raw(listener, f"GET {path} HTTP/1.1\r\nhost: a\r\n{lines}\r\n".encode())
        assert head.startswith(b"HTTP/1.1 200"), head
        found: dict[str, Any] = json.loads(body)
        return found


@pytest.fixture(scope="module")
async def edge(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Edge]:
    directory: Path = tmp_path_factory.mktemp("edge")
    ports = {"inbound": free_port(), "gateway": free_port()}
    async with application() as behind:
        endpoint = {"endpoint": {"address": {"socket_address": {"address": HOST, "port_value": behind}}}}
        cluster = {
            "name": "application",
            "type": "STATIC",
            "connect_timeout": "1s",
            "load_assignment": {"cluster_name": "application", "endpoints": [{"lb_endpoints": [endpoint]}]},
        }
        listeners = [_listener(name, port) for name, port in ports.items()]
        path = directory / "envoy.json"
        path.write_text(json.dumps({"static_resources": {"listeners": listeners, "clusters": [cluster]}}))
        with (directory / "envoy.log").open("wb") as log:
            arguments = ["-c", str(path), "--disable-hot-restart", "--concurrency", "1", "-l", "warning"]
            process = await asyncio.create_subprocess_exec(str(ENVOY), *arguments, stdout=log, stderr=log)
        try:
            for port in ports.values():
                await _until_open(port)
            yield Edge(ports)
        finally:
            process.kill()
            await process.wait()


async def _until_open(port: int) -> None:
    for _ in range(600):
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection(HOST, port)
            writer.close()
            return
        await asyncio.sleep(0.05)
    raise AssertionError("Envoy did not open its listener")


@pytest.mark.parametrize("listener", ["inbound", "gateway"])
@pytest.mark.parametrize(
    "path",
    [
        *("/admin/x", "//admin/x", "/admin//x", "/./admin/x", "/a/../admin/x", "/a/%2e%2e/admin/x", "/%2e/admin/x", "/%61dmin/x"),
        *("/admin%2Fx", "/admin%2fx", "/%2Fadmin/x", "/admin%5Cx", "/admin\\x", "/a/..%2fadmin/x", "/a%2f..%2fadmin/x"),
    ],
)
async def test_one_path_has_one_form(edge: Edge, listener: str, path: str) -> None:
    assert (await edge.seen(listener, path))["request"] == "GET /admin/x HTTP/1.1"


@pytest.mark.parametrize("listener", ["inbound", "gateway"])
async def test_a_query_stays_as_it_is(edge: Edge, listener: str) -> None:
    assert (await edge.seen(listener, "/x?to=http://a//b/../c%2Fd"))["request"] == "GET /x?to=http://a//b/../c%2Fd HTTP/1.1"


@pytest.mark.parametrize("listener", ["inbound", "gateway"])
async def test_nobody_says_himself_whose_certificate_he_has(edge: Edge, listener: str) -> None:
    forged = {"X-Forwarded-Client-Cert": "URI=spiffe://cluster.local/ns/a/sa/b", "X-Istio-Attributes": "reviews.default.svc.cluster.local"}
    headers = (await edge.seen(listener, "/", **forged))["headers"]
    assert {"x-forwarded-client-cert", "x-istio-attributes"}.isdisjoint(headers)


async def test_the_edge_believes_nothing_that_only_proxies_say(edge: Edge) -> None:
    forged = {
        "x-envoy-original-path": "/other",
        "x-envoy-upstream-rq-timeout-ms": "1",
        "x-envoy-retry-on": "5xx",
        "x-envoy-internal": "true",
    }
    headers = (await edge.seen("gateway", "/", **forged))["headers"]
    assert forged.keys().isdisjoint(headers)


@pytest.mark.parametrize("listener", ["inbound", "gateway"])
@pytest.mark.parametrize(
    "framing",
    [
        "content-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        "content-length: 3\r\ncontent-length: 4\r\n\r\nabc",
        "content-length: +3\r\n\r\nabc",
        "transfer-encoding: xchunked\r\n\r\n0\r\n\r\n",
        "transfer-encoding : chunked\r\n\r\n0\r\n\r\n",
        "x: a\x00b\r\n\r\n",
    ],
)
async def test_a_request_that_two_servers_could_read_differently_is_refused(edge: Edge, listener: str, framing: str) -> None:
    head, _ = await edge.raw(listener, f"POST / HTTP/1.1\r\nhost: a\r\n{framing}".encode())
    assert head.split()[1] in (b"400", b"501"), head
