# SPDX-License-Identifier: Apache-2.0
"""The gRPC edge of a Publisher: who may subscribe, and how fast, is decided before messages are read.

Istio 1.4 let one new stream a second and one request a second and stream through, with bursts of a hundred. A mesh of ours restarts as a
whole in less, so the rates are ten times those; a sink that asks faster than it may is read more slowly, which its own flow control feels.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import grpc.aio
import structlog

from common.mcp.limit import TokenBucket
from common.mcp.publisher import Publisher
from common.proto.mcp import v1alpha1_pb2 as mcp
from common.proto.mcp import v1alpha1_pb2_grpc as mcp_grpc

log = structlog.get_logger("mcp")

STREAMS_PER_SECOND, REQUESTS_PER_SECOND, BURST = 10.0, 100.0, 100

Context = grpc.aio.ServicerContext[mcp.RequestResources, mcp.Resources]
Authorize = Callable[[Context], str]
"""The name of the caller, or PermissionError with the reason."""


class ResourceSourceServicer(mcp_grpc.ResourceSourceServicer):
    """`istio.mcp.v1alpha1.ResourceSource`: sinks dial, and each gets its own state machine."""

    def __init__(self, publisher: Publisher, authorize: Authorize) -> None:
        self._publisher, self._authorize = publisher, authorize
        self._streams = TokenBucket(rate=STREAMS_PER_SECOND, burst=BURST, clock=time.monotonic)

    async def EstablishResourceStream(self, request_iterator: Any, context: Context) -> None:
        try:
            peer = self._authorize(context)
        except PermissionError as error:
            log.warning("a sink is refused", peer=context.peer(), reason=str(error))
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, str(error))
        if not self._streams.take():
            log.warning("too many new streams; a sink must come again", peer=peer)
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "too many new streams; try again in a moment")
        log.info("sink connected", peer=peer)
        try:
            await self._publisher.serve(_requests(context), context.write, peer=peer)
        finally:
            log.info("sink disconnected", peer=peer)


async def _requests(context: Context) -> AsyncIterator[mcp.RequestResources]:
    bucket = TokenBucket(rate=REQUESTS_PER_SECOND, burst=BURST, clock=time.monotonic)
    while True:
        if pause := bucket.wait():
            await asyncio.sleep(pause)
        request = await context.read()
        if not isinstance(request, mcp.RequestResources):  # grpc.aio.EOF
            return
        yield request
