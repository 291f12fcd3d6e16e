# SPDX-License-Identifier: Apache-2.0
"""A port belongs to one process, and port 0 is reported as bound."""

import asyncio
import socket

import grpc.aio
import httpx
import pytest
from fastapi import FastAPI

from common.lifecycle.grpc import bind_grpc, grpc_server
from common.lifecycle.host import StartError
from common.lifecycle.http import address_of, bind, serve_http, split_address


def test_a_taken_port_is_a_start_error_that_names_it() -> None:
    with bind("127.0.0.1:0") as first, pytest.raises(StartError, match=address_of(first)):
        bind(address_of(first))


@pytest.mark.parametrize("bad", ["nonsense", "host:", "host:70000", "host:http"])
def test_a_malformed_address_is_explained(bad: str) -> None:
    with pytest.raises(ValueError, match="host:port"):
        split_address(bad)


def test_short_and_v6_addresses() -> None:
    assert split_address(":80") == ("0.0.0.0", 80)
    assert split_address("[::1]:80") == ("::1", 80)


async def test_http_serves_only_inside_the_block() -> None:
    app = FastAPI()

    @app.get("/")
    async def root() -> str:
        return "here"

    sock = bind("127.0.0.1:0")
    url = f"http://{address_of(sock)}/"
    async with serve_http(app, sock), httpx.AsyncClient() as client:
        assert (await client.get(url)).json() == "here"
    with pytest.raises(httpx.ConnectError):
        httpx.get(url)


async def test_answers_are_not_held_back_for_the_clients_acknowledgement() -> None:
    """Head and body are two writes; with Nagle's algorithm the second waits 40 ms for a delayed ACK."""
    sock = bind("127.0.0.1:0")
    set_on: list[int] = []

    class Looking(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            set_on.append(transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            transport.close()

    server = await asyncio.get_running_loop().create_server(Looking, sock=sock)
    async with server:
        reader, writer = await asyncio.open_connection(*sock.getsockname())
        await reader.read()
        writer.close()
    assert set_on == [1]


async def test_grpc_binds_exclusively() -> None:
    first, second = grpc_server(), grpc_server()
    address = bind_grpc(first, "127.0.0.1:0", None)
    assert not address.endswith(":0")
    await first.start()
    try:
        with pytest.raises(StartError, match=address):
            bind_grpc(second, address, None)
        with socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2])), 1):
            pass
        assert isinstance(first, grpc.aio.Server)
    finally:
        await first.stop(0)
        await second.stop(0)
