# SPDX-License-Identifier: Apache-2.0
"""`python -m deploy.samples.tcp_echo`: on port 9000, `hello` comes back as `one hello` (`PREFIX=one`).

The client speaks first, as Istio 1.4's sample has it; `BIND_HOST` and `PORT` say where to listen.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal

PREFIX = os.environ.get("PREFIX", "one").encode()
PORT = 9000


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Line by line until the client ends."""
    with contextlib.suppress(OSError, ValueError):  # gone, or a line beyond 64 KiB
        while line := await reader.readline():
            writer.write(PREFIX + b" " + line)
            await writer.drain()
    writer.close()


async def serve() -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    server = await asyncio.start_server(echo, os.environ.get("BIND_HOST", "0.0.0.0"), int(os.environ.get("PORT", PORT)), backlog=512)
    await stop.wait()
    server.close()


if __name__ == "__main__":
    asyncio.run(serve())
