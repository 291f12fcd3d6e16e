# SPDX-License-Identifier: Apache-2.0
"""The gRPC edge of a Publisher: who may subscribe is decided before the first message is read."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import grpc.aio
import structlog

from common.mcp.publisher import Publisher
from common.proto.mcp import v1alpha1_pb2 as mcp
from common.proto.mcp import v1alpha1_pb2_grpc as mcp_grpc

log = structlog.get_logger("mcp")

Context = grpc.aio.ServicerContext[mcp.RequestResources, mcp.Resources]
Authorize = Callable[[Context], str]
"""The name of the caller, or PermissionError with the reason."""


class ResourceSourceServicer(mcp_grpc.ResourceSourceServicer):
    """`istio.mcp.v1alpha1.ResourceSource`: sinks dial, and each gets its own state machine."""

    def __init__(self, publisher: Publisher, authorize: Authorize) -> None:
        self._publisher, self._authorize = publisher, authorize

    async def EstablishResourceStream(self, request_iterator: Any, context: Context) -> None:
        try:
            peer = self._authorize(context)
        except PermissionError as error:
            log.warning("a sink is refused", peer=context.peer(), reason=str(error))
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, str(error))
        log.info("sink connected", peer=peer)
        try:
            await self._publisher.serve(_requests(context), context.write, peer=peer)
        finally:
            log.info("sink disconnected", peer=peer)


async def _requests(context: Context) -> AsyncIterator[mcp.RequestResources]:
    while True:
        request = await context.read()
        if not isinstance(request, mcp.RequestResources):  # grpc.aio.EOF
            return
        yield request
