# SPDX-License-Identifier: Apache-2.0
"""One stream of a sink, and the life of streams after each other: the same for a socket and inside one process."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable

import structlog

from common.mcp.change import OnChange, Rejected
from common.mcp.sink import Delivery, Sink
from common.proto.mcp import v1alpha1_pb2 as mcp

log = structlog.get_logger("mcp")

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0  # seconds between attempts; Istio 1.4's fixed second let a lost source be stormed


async def converse(
    sink: Sink, responses: AsyncIterator[mcp.Resources], send: Callable[[mcp.RequestResources], Awaitable[None]], on_change: OnChange
) -> None:
    """Ask for every collection, then deliver and answer until the responses end. Changes are delivered one at a time."""
    for request in sink.connect():
        await send(request)
    async for response in responses:
        read = sink.receive(response)
        if not isinstance(read, Delivery):
            await send(read)
            continue
        for skipped in read.change.skipped:
            log.warning(
                "an object cannot be read; the rest is applied",
                collection=response.collection,
                name=skipped.mcp_name,
                reason=skipped.reason,
            )
        try:
            await on_change(read.change)
        except Rejected as error:
            await send(sink.reject(read, str(error)))
        except Exception as error:  # a fault of ours must not look like an accepted change, nor end the stream
            log.exception(
                "a change could not be applied; it is refused", collection=response.collection, version=response.system_version_info
            )
            await send(sink.reject(read, f"internal error: {error}"))
        else:
            await send(sink.accept(read))


async def keep(attempt: Callable[[], Awaitable[None]], stopping: asyncio.Event) -> None:
    """Run `attempt` again and again until `stopping`, with jittered, growing pauses; an attempt that lived for a while resets them.

    `attempt` raises ConnectionError (or anything) when the source is lost. Cancelled attempts are waited for.
    """
    loop = asyncio.get_running_loop()
    pause = FIRST_PAUSE
    stop = asyncio.create_task(stopping.wait(), name="mcp-stop")
    task: asyncio.Future[None] | None = None
    try:
        while not stopping.is_set():
            began = loop.time()
            task = asyncio.ensure_future(attempt())
            await asyncio.wait([task, stop], return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                return
            error = task.exception()
            if error is not None:
                log.warning("the configuration source is lost; trying again", reason=str(error) or type(error).__name__)
            if loop.time() - began > LONGEST_PAUSE:
                pause = FIRST_PAUSE
            await asyncio.wait([stop], timeout=pause * random.uniform(0.5, 1.0))  # noqa: S311 - jitter, not a secret
            pause = min(pause * 2, LONGEST_PAUSE)
    finally:  # also when we are cancelled ourselves: an attempt must not outlive its keeper
        stop.cancel()
        if task is not None and not task.done():
            task.cancel()
            await asyncio.wait([task])
