# SPDX-License-Identifier: Apache-2.0
"""The configuration source of a part in Galley's process (istiod mode): the same messages, as bytes, through the same two state machines.

Only the socket is missing. Handing objects over would be faster and would let split and merged differ; that is not worth it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

from common.mcp.change import OnChange
from common.mcp.publisher import Publisher
from common.mcp.session import converse, keep
from common.mcp.sink import Sink
from common.proto.mcp import v1alpha1_pb2 as mcp


class InProcessConfigSource:
    """A ConfigSource on a Publisher of the same process and event loop."""

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher
        self.sink: Sink | None = None

    async def run(self, *, node_id: str, collections: Sequence[str], on_change: OnChange, stopping: asyncio.Event) -> None:
        """See `ConfigSource.run`."""
        sink = self.sink = Sink(node_id, collections)

        async def attempt() -> None:
            requests: asyncio.Queue[bytes] = asyncio.Queue()
            responses: asyncio.Queue[bytes] = asyncio.Queue(maxsize=1)

            async def read_requests() -> AsyncIterator[mcp.RequestResources]:
                while True:
                    yield mcp.RequestResources.FromString(await requests.get())

            async def read_responses() -> AsyncIterator[mcp.Resources]:
                while True:
                    yield mcp.Resources.FromString(await responses.get())

            async def send_request(request: mcp.RequestResources) -> None:
                await requests.put(request.SerializeToString())

            async def send_response(response: mcp.Resources) -> None:
                await responses.put(response.SerializeToString())

            async with asyncio.TaskGroup() as group:
                group.create_task(self._publisher.serve(read_requests(), send_response, peer=f"{node_id} (in process)"))
                group.create_task(converse(sink, read_responses(), send_request, on_change))

        await keep(attempt, stopping)
