# SPDX-License-Identifier: Apache-2.0
"""Call-out mode: Galley dials a sink that waits for it, and serves it as if the sink had dialled (Istio 1.4's `--sinkAddress`)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence

import grpc
import grpc.aio
import structlog

from common.identity.material import WorkloadIdentity
from common.identity.tls import grpc_channel
from common.lifecycle.host import StartError
from common.mcp.client import OPTIONS
from common.mcp.publisher import Publisher
from common.mcp.session import keep
from common.mesh.names import SERVICE_ACCOUNTS
from common.proto.mcp import v1alpha1_pb2 as mcp
from common.proto.mcp import v1alpha1_pb2_grpc as mcp_grpc

log = structlog.get_logger("mcp")

TRIGGER = "$triggerCollection"
"""The empty first message by which a caller makes a stream visible to the sink; the sink refuses it, and then asks for what it wants."""

Call = grpc.aio.StreamStreamCall[mcp.Resources, mcp.RequestResources]


class CallOut:
    """Keeps one sink served, with jittered pauses between attempts. The sink must hold the DNS name of `part`."""

    def __init__(
        self, address: str, identity: WorkloadIdentity, publisher: Publisher, *, part: str, metadata: Mapping[str, str] | None = None
    ) -> None:
        """`metadata` goes with every call, for sinks behind a router that wants to be told something."""
        self._address, self._identity, self._publisher, self._part = address, identity, publisher, part
        self._metadata = tuple((metadata or {}).items())

    async def run(self, stopping: asyncio.Event) -> None:
        await keep(self._attempt, stopping)

    async def _attempt(self) -> None:
        async with grpc_channel(self._identity, self._address, part=self._part, options=OPTIONS) as channel:
            stub = mcp_grpc.ResourceSinkStub(channel)  # type: ignore[no-untyped-call]
            call: Call = stub.EstablishResourceStream(metadata=self._metadata)
            try:
                await call.write(mcp.Resources(collection=TRIGGER))
                log.info("called a sink", address=self._address, part=self._part)
                await self._publisher.serve(_requests(call), call.write, peer=f"{self._part} at {self._address} (called)")
            except (grpc.aio.AioRpcError, asyncio.InvalidStateError) as error:
                detail = f"{error.code().name}: {error.details()}" if isinstance(error, grpc.aio.AioRpcError) else str(error)
                raise ConnectionError(f"{self._part} at {self._address}: {detail}") from error
            finally:
                call.cancel()
        raise ConnectionError(f"{self._part} at {self._address} ended the stream")


async def _requests(call: Call) -> AsyncIterator[mcp.RequestResources]:
    async for request in call:
        if request.collection != TRIGGER:
            yield request


def call_outs(sinks: Sequence[str], metadata: Sequence[str], identity: WorkloadIdentity, publisher: Publisher) -> list[CallOut]:
    """One for each `part@host:port`. Raises StartError for a sink or a pair that cannot be understood."""
    pairs: dict[str, str] = {}
    for pair in metadata:
        key, equals, value = pair.partition("=")
        if not key or not equals:
            raise StartError(f"mcp_sink_metadata: {pair!r} is not of the form key=value")
        pairs[key.lower()] = value
    made = []
    for sink in sinks:
        part, at, address = sink.partition("@")
        if not at or part not in SERVICE_ACCOUNTS:
            raise StartError(f"mcp_sinks: {sink!r} is not of the form part@host:port with a part out of {', '.join(SERVICE_ACCOUNTS)}")
        made.append(CallOut(address, identity, publisher, part=part, metadata=pairs))
    return made
