# SPDX-License-Identifier: Apache-2.0
"""Doors into the mesh: a port on the host's loopback whose connections continue in another network namespace."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable

import structlog

from common.lifecycle.http import address_of, bind

log = structlog.get_logger("local")

CHUNK = 64 * 1024


@contextlib.asynccontextmanager
async def forwarding(listen: str, target: tuple[str, int], new_socket: Callable[[], socket.socket]) -> AsyncIterator[str]:
    """Forward connections on `listen` (host:port) to `target` through sockets of `new_socket`. Yields the address as bound.

    Raises StartError when the address is taken.
    """
    sock = bind(listen)
    open_connections: set[asyncio.Task[None]] = set()
    closed = False

    def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if closed:  # it came in while the door was being closed
            writer.transport.abort()
            return
        task = asyncio.create_task(_join(reader, writer, target, new_socket), name=f"door to {target[0]}:{target[1]}")
        open_connections.add(task)
        task.add_done_callback(open_connections.discard)
        task.add_done_callback(lambda _: writer.close())  # here, because a task that is cancelled before it began closes nothing

    server = await asyncio.start_server(accepted, sock=sock, limit=CHUNK)
    try:
        yield address_of(sock)
    finally:
        closed = True
        server.close()
        for task in open_connections:
            task.cancel()
        await asyncio.gather(*open_connections, return_exceptions=True)


async def connect(target: tuple[str, int], new_socket: Callable[[], socket.socket]) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A stream to `target` over a socket of `new_socket`, which may belong to another network namespace."""
    sock = new_socket()
    try:
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, target)
        return await asyncio.open_connection(sock=sock)
    except BaseException:
        sock.close()
        raise


async def _join(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, target: tuple[str, int], new_socket: Callable[[], socket.socket]
) -> None:
    try:
        to_reader, to_writer = await connect(target, new_socket)
    except OSError as error:
        log.debug("nobody answers behind the door", target=f"{target[0]}:{target[1]}", reason=str(error))
        writer.transport.abort()
        return
    try:
        await asyncio.gather(_copy(reader, to_writer), _copy(to_reader, writer))
    finally:
        to_writer.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copy to the end of one direction, and pass that end on, so that half-closed connections work."""
    try:
        while data := await reader.read(CHUNK):
            writer.write(data)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()
    except (ConnectionError, OSError):
        writer.transport.abort()
