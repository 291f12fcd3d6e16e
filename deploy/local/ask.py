# SPDX-License-Identifier: Apache-2.0
"""One plain HTTP question to something in another network namespace, for probes of readiness and for metrics."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable

from common.lifecycle.http import split_address
from deploy.local.forward import connect

NewSocket = Callable[[], socket.socket]
LARGEST = 16 * 1024 * 1024  # bytes


async def ask(address: str, path: str, new_socket: NewSocket, *, timeout: float = 5.0) -> tuple[int, str]:
    """GET `path`; the status and the body. Raises OSError (TimeoutError among them) when nobody answers properly."""
    async with asyncio.timeout(timeout):
        reader, writer = await connect(split_address(address), new_socket)
        try:
            writer.write(f"GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n".encode())
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
            body = await reader.read(LARGEST) if "content-length:" not in head else await reader.readexactly(_length(head))
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError) as error:
            raise ConnectionError(f"{address} did not answer in HTTP") from error
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
    return int(head.split(" ", 2)[1]), body.decode(errors="replace")


async def until(look: Callable[[], Awaitable[str | None]], *, timeout: float, every: float = 0.05) -> str | None:
    """Look until there is no problem any more: None, or after `timeout` seconds the last problem."""
    loop = asyncio.get_running_loop()
    end = loop.time() + timeout
    while (problem := await look()) is not None and loop.time() < end:  # noqa: ASYNC110 - processes tell nobody
        await asyncio.sleep(every)
    return problem


def _length(head: str) -> int:
    for line in head.split("\r\n"):
        name, _, value = line.partition(":")
        if name == "content-length":
            return min(int(value), LARGEST)
    raise ValueError("no content-length")
