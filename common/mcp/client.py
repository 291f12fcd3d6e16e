# SPDX-License-Identifier: Apache-2.0
"""The configuration source of a part that runs apart from Galley: MCP over mutual TLS gRPC."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence

import grpc
import grpc.aio

from common.identity.material import WorkloadIdentity
from common.identity.tls import grpc_channel
from common.mcp.change import OnChange
from common.mcp.session import converse, keep
from common.mcp.sink import Sink
from common.proto.mcp import v1alpha1_pb2 as mcp
from common.proto.mcp import v1alpha1_pb2_grpc as mcp_grpc

LARGEST_MESSAGE = 64 * 1024 * 1024  # bytes; Istio 1.4's 4 MiB let one large collection break its stream for ever
OPTIONS = (
    ("grpc.max_receive_message_length", LARGEST_MESSAGE),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
)


class GrpcConfigSource:
    """Dials Galley and keeps dialling. `address_provider` is asked before every attempt, so that a moved Galley is found."""

    def __init__(self, address_provider: Callable[[], str], identity: WorkloadIdentity) -> None:
        self._address, self._identity = address_provider, identity
        self.sink: Sink | None = None
        """The running sink, for introspection: what is missing, accepted versions, the journal."""
        self.lost: str | None = None
        """Why Galley does not answer; None while it does, and before the first attempt has failed."""

    async def run(self, *, node_id: str, collections: Sequence[str], on_change: OnChange, stopping: asyncio.Event) -> None:
        """See `ConfigSource.run`."""
        sink = self.sink = Sink(node_id, collections)

        async def attempt() -> None:
            address = self._address()
            async with grpc_channel(self._identity, address, part="galley", options=OPTIONS) as channel:
                stub = mcp_grpc.ResourceSourceStub(channel)  # type: ignore[no-untyped-call]
                call: grpc.aio.StreamStreamCall[mcp.RequestResources, mcp.Resources] = stub.EstablishResourceStream()
                try:
                    await converse(sink, self._responses(call), call.write, on_change)
                except (grpc.aio.AioRpcError, asyncio.InvalidStateError) as error:
                    self.lost = f"{address} does not answer"
                    raise ConnectionError(f"{address}: {_reason(error)}") from error
                finally:
                    call.cancel()
            self.lost = f"{address} ended the stream"
            raise ConnectionError(f"{address}: Galley ended the stream")

        await keep(attempt, stopping)

    async def _responses(self, call: grpc.aio.StreamStreamCall[mcp.RequestResources, mcp.Resources]) -> AsyncIterator[mcp.Resources]:
        async for response in call:
            self.lost = None
            yield response


def _reason(error: Exception) -> str:
    return f"{error.code().name}: {error.details()}" if isinstance(error, grpc.aio.AioRpcError) else str(error)
