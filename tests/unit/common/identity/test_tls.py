# SPDX-License-Identifier: Apache-2.0
"""Real handshakes on loopback: who is let in, who is seen, and what changes when an identity does."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
import httpx
import pytest
from cryptography import x509

from common.identity.https import https_client
from common.identity.material import KeyMaterial, WorkloadIdentity
from common.identity.spiffe import SpiffeId
from common.identity.tls import (
    grpc_channel,
    grpc_server_credentials,
    peer_identity,
    peer_label_bounds,
    peer_of_certificate,
    ssl_context,
)
from common.lifecycle.grpc import bind_grpc, grpc_server
from common.mesh.names import control_plane_dns_name
from tests.running_citadel import identity_of, material_of, new_authority, part_identity

authority = new_authority()


def serial_of(material: KeyMaterial) -> int:
    return x509.load_pem_x509_certificate(material.certificate_chain_pem).serial_number


class Seen:
    """A gRPC service that notes who calls."""

    def __init__(self) -> None:
        self.caller: SpiffeId | None = None
        self.bounds: dict[str, str] = {}

    async def _call(self, _: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        self.caller = peer_identity(context)
        self.bounds = peer_label_bounds(context)
        return b"ok"

    def handler(self) -> grpc.GenericRpcHandler:
        return grpc.method_handlers_generic_handler("test.Seen", {"Call": grpc.unary_unary_rpc_method_handler(self._call)})


@contextlib.asynccontextmanager
async def serving(identity: WorkloadIdentity, *, require_client: bool = True) -> AsyncIterator[tuple[Seen, str]]:
    seen, server = Seen(), grpc_server()
    server.add_generic_rpc_handlers((seen.handler(),))
    address = bind_grpc(server, "127.0.0.1:0", grpc_server_credentials(identity, require_client=require_client))
    await server.start()
    try:
        yield seen, address
    finally:
        await server.stop(None)


async def call(channel: grpc.aio.Channel) -> bytes:
    async with channel:
        method: Any = channel.unary_unary("/test.Seen/Call")
        answer: bytes = await method(b"", timeout=2)
        return answer


async def test_a_grpc_server_sees_its_callers_one_identity() -> None:
    caller = identity_of(authority, "default", "sleep", label_bounds={"app": "sleep"})
    async with serving(part_identity(authority, "galley")) as (seen, address):
        assert await call(grpc_channel(caller, address, part="galley")) == b"ok"
    assert seen.caller == SpiffeId("cluster.local", "default", "sleep")
    assert seen.bounds == {"app": "sleep"}


@pytest.mark.parametrize("impostor", ["mixer", "workload", "stranger"])
async def test_a_channel_reaches_only_the_part_it_means(impostor: str) -> None:
    servers = {
        "mixer": part_identity(authority, "mixer"),
        "workload": identity_of(authority, "default", "sleep"),
        "stranger": part_identity(new_authority(), "galley"),
    }
    async with serving(servers[impostor]) as (seen, address):
        with pytest.raises(grpc.aio.AioRpcError):
            await call(grpc_channel(part_identity(authority, "pilot"), address, part="galley"))
    assert seen.caller is None


async def test_a_grpc_server_refuses_strangers_and_callers_without_certificate() -> None:
    name = control_plane_dns_name("galley")
    bare = grpc.ssl_channel_credentials(authority.bundle_pem)
    stranger = material_of(new_authority(), "default", "sleep")
    foreign = grpc.ssl_channel_credentials(authority.bundle_pem, stranger.private_key_pem, stranger.certificate_chain_pem)
    async with serving(part_identity(authority, "galley")) as (seen, address):
        for credentials in (bare, foreign):
            channel = grpc.aio.secure_channel(address, credentials, options=[("grpc.ssl_target_name_override", name)])
            with pytest.raises(grpc.aio.AioRpcError):
                await call(channel)
    assert seen.caller is None


async def test_a_grpc_server_follows_rotation_to_another_root() -> None:
    identity = part_identity(authority, "galley")
    later = new_authority()
    async with serving(identity) as (_, address):
        assert await call(grpc_channel(part_identity(authority, "pilot"), address, part="galley")) == b"ok"
        identity.replace(part_identity(later, "galley").current)
        assert await call(grpc_channel(part_identity(later, "pilot"), address, part="galley")) == b"ok"
        with pytest.raises(grpc.aio.AioRpcError):
            await call(grpc_channel(part_identity(authority, "pilot"), address, part="galley"))


@contextlib.asynccontextmanager
async def serving_ssl(identity: WorkloadIdentity, *, require_client: bool = True) -> AsyncIterator[tuple[list[SpiffeId | None], int]]:
    seen: list[SpiffeId | None] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(peer_of_certificate(writer.get_extra_info("ssl_object").getpeercert(binary_form=True)))
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok")
        await writer.drain()
        writer.close()

    context = ssl_context(identity, server=True, require_client=require_client)
    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
    async with server:
        yield seen, server.sockets[0].getsockname()[1]


async def served_serial(port: int, context: ssl.SSLContext) -> int:
    """One request; the serial of the certificate that the server showed."""
    name = control_plane_dns_name("mixer")
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname=name)
    try:
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        if not (await reader.read()).endswith(b"ok"):
            raise ConnectionError("refused")
        return x509.load_der_x509_certificate(writer.get_extra_info("ssl_object").getpeercert(binary_form=True)).serial_number
    finally:
        writer.close()


async def test_an_ssl_server_sees_callers_and_follows_rotation_to_another_root() -> None:
    identity = part_identity(authority, "mixer")
    caller = identity_of(authority, "default", "sleep")
    later = new_authority()
    async with serving_ssl(identity) as (seen, port):
        assert await served_serial(port, ssl_context(caller, server=False)) == serial_of(identity.current)
        identity.replace(part_identity(later, "mixer").current)
        new_caller = ssl_context(identity_of(later, "other", "sleep"), server=False)
        assert await served_serial(port, new_caller) == serial_of(identity.current)
        with pytest.raises((ssl.SSLError, ConnectionError)):  # trusts us no longer, nor we it
            await served_serial(port, ssl_context(caller, server=False))
    assert seen[:2] == [SpiffeId("cluster.local", "default", "sleep"), SpiffeId("cluster.local", "other", "sleep")]


async def test_an_ssl_server_demands_a_certificate_of_the_mesh() -> None:
    bare = ssl.create_default_context(cadata=authority.bundle_pem.decode())
    foreign = ssl_context(identity_of(new_authority(), "default", "sleep"), server=False)
    foreign.load_verify_locations(cadata=authority.bundle_pem.decode())
    async with serving_ssl(part_identity(authority, "mixer")) as (_, port):
        for context in (bare, foreign):
            with pytest.raises((ssl.SSLError, ConnectionError)):
                await served_serial(port, context)


async def test_a_client_context_presents_the_newest_certificate() -> None:
    caller = identity_of(authority, "default", "sleep")
    context = ssl_context(caller, server=False)
    caller.replace(material_of(authority, "default", "renamed"))
    async with serving_ssl(part_identity(authority, "mixer")) as (seen, port):
        await served_serial(port, context)
    assert seen == [SpiffeId("cluster.local", "default", "renamed")]


async def test_an_https_client_checks_the_parts_name_whatever_the_address() -> None:
    async with serving_ssl(part_identity(authority, "mixer"), require_client=False) as (_, port):
        async with https_client(f"127.0.0.1:{port}", part="mixer", roots_pem=authority.bundle_pem) as client:
            assert (await client.get("/")).text == "ok"
        async with https_client(f"127.0.0.1:{port}", part="galley", roots_pem=authority.bundle_pem) as client:
            with pytest.raises(httpx.ConnectError):
                await client.get("/")


def test_no_private_key_shows_in_a_representation() -> None:
    material = material_of(authority, "default", "sleep")
    assert "PRIVATE KEY" not in repr(material)
    assert "PRIVATE KEY" not in repr(authority.root)


def test_one_failing_user_of_an_identity_does_not_keep_the_others_from_hearing() -> None:
    identity, heard = identity_of(authority, "default", "sleep"), []

    def failing(_: KeyMaterial) -> None:
        raise RuntimeError("a user's fault")

    identity.subscribe(failing)
    end = identity.subscribe(lambda material: heard.append(material.serial))
    identity.replace(material_of(authority, "default", "sleep"))
    end()
    identity.replace(material_of(authority, "default", "sleep"))
    assert len(heard) == 1
