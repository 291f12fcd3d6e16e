# SPDX-License-Identifier: Apache-2.0
"""HTTP servers on sockets that we bind.

uvicorn alone would exit the process on a taken port and take SIGTERM for itself; here the host owns signals and a taken port is a StartError.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Generator
from typing import Any

import uvicorn

from common.lifecycle.host import StartError


def split_address(address: str) -> tuple[str, int]:
    """`host:port` to its two halves; `[::1]:80` and `:80` (all addresses) are understood. Raises ValueError with the expected form."""
    host, separator, port = address.rpartition(":")
    if not separator or not port.isdigit() or int(port) > 65535:
        raise ValueError(f"address {address!r} is not of the form host:port with a port from 0 to 65535")
    return host.strip("[]") or "0.0.0.0", int(port)


def bind(address: str) -> socket.socket:
    """A listening TCP socket that no other process can share. Raises StartError, naming the address, when it is taken or not ours."""
    try:
        host, port = split_address(address)
    except ValueError as error:
        raise StartError(str(error)) from error
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)  # asyncio sets TCP_NODELAY only where it sees the protocol
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
    except OSError as error:
        sock.close()
        raise StartError(
            f"cannot listen on {address}: {error.strerror}; choose another address or end the process that holds it"
        ) from error
    sock.listen(1024)
    sock.setblocking(False)
    return sock


def address_of(sock: socket.socket) -> str:
    """`host:port` as really bound."""
    host, port = sock.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield  # the host owns signals

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.serving.set()

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.serving = asyncio.Event()


@contextlib.asynccontextmanager
async def serve_http(
    app: Any, sock: socket.socket, *, ssl_context: ssl.SSLContext | None = None, grace: float = 2.0
) -> AsyncIterator[None]:
    """Serve an ASGI application on a bound socket for as long as the block lasts; open requests get `grace` seconds to end.

    The context may change its certificate while serving (`common.identity.tls.ssl_context` does).
    """
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        lifespan="off",
        server_header=False,
        date_header=False,
        timeout_graceful_shutdown=max(1, round(grace)),
    )
    config.load()
    config.ssl = ssl_context
    server = _Server(config)
    task = asyncio.create_task(server.serve(sockets=[sock]), name=f"http {address_of(sock)}")
    serving = asyncio.create_task(server.serving.wait())
    await asyncio.wait([task, serving], return_when=asyncio.FIRST_COMPLETED)
    serving.cancel()
    if task.done():
        await task
        raise RuntimeError("the HTTP server ended at once")
    try:
        yield
    finally:
        server.should_exit = True
        with contextlib.suppress(asyncio.CancelledError, TimeoutError):
            await asyncio.wait_for(task, grace + 2)
        sock.close()
