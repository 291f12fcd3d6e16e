# SPDX-License-Identifier: Apache-2.0
"""The configuration source of a part that Galley calls (Istio 1.4's call-out mode), for parts that Galley can reach and not the other way.

Only who dials is different: after that the messages and both state machines are those of a part that dials Galley itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import grpc
import grpc.aio
import structlog

from common.identity.material import WorkloadIdentity
from common.identity.tls import grpc_server_credentials, peer_identity
from common.lifecycle.grpc import bind_grpc, grpc_server
from common.mcp.change import OnChange
from common.mcp.client import LARGEST_MESSAGE, OPTIONS
from common.mcp.session import converse
from common.mcp.sink import Sink
from common.mesh.names import ROOT_NAMESPACE, SERVICE_ACCOUNTS
from common.proto.mcp import v1alpha1_pb2 as mcp
from common.proto.mcp import v1alpha1_pb2_grpc as mcp_grpc

log = structlog.get_logger("mcp")

Context = grpc.aio.ServicerContext[mcp.Resources, mcp.RequestResources]


class ListeningConfigSource:
    """A ConfigSource that waits at `address` for Galley's call. A new call takes the place of the one before it, as after a reconnect."""

    def __init__(self, address: str, identity: WorkloadIdentity, *, bound: Callable[[str], None] = lambda _: None) -> None:
        """`bound` is told where it really listens."""
        self._address, self._identity, self._bound = address, identity, bound
        self.sink: Sink | None = None

    async def run(self, *, node_id: str, collections: Sequence[str], on_change: OnChange, stopping: asyncio.Event) -> None:
        """See `ConfigSource.run`."""
        sink = self.sink = Sink(node_id, collections)
        server = grpc_server(max_message=LARGEST_MESSAGE, options=OPTIONS[1:])
        servicer = _Servicer(sink, on_change, self._identity.spiffe_id.trust_domain)
        mcp_grpc.add_ResourceSinkServicer_to_server(servicer, server)  # type: ignore[no-untyped-call]
        address = bind_grpc(server, self._address, grpc_server_credentials(self._identity))
        await server.start()
        self._bound(address)
        try:
            await stopping.wait()
        finally:
            await server.stop(0)


class _Servicer(mcp_grpc.ResourceSinkServicer):
    def __init__(self, sink: Sink, on_change: OnChange, trust_domain: str) -> None:
        self._sink, self._on_change, self._trust_domain = sink, on_change, trust_domain
        self._replaced = asyncio.Event()
        self._turn = asyncio.Lock()

    async def EstablishResourceStream(self, request_iterator: Any, context: Context) -> None:
        peer = peer_identity(context)
        expected = (self._trust_domain, ROOT_NAMESPACE, SERVICE_ACCOUNTS["galley"])
        if peer is None or (peer.trust_domain, peer.namespace, peer.service_account) != expected:
            log.warning("a source is refused", peer=str(peer))
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, f"{peer or 'a caller without a SPIFFE id'} is not Galley of this mesh")
        self._replaced.set()
        replaced = self._replaced = asyncio.Event()
        async with self._turn:  # the call before ends between two changes, never within one
            await converse(self._sink, _responses(context, replaced), context.write, self._on_change)


async def _responses(context: Context, replaced: asyncio.Event) -> AsyncIterator[mcp.Resources]:
    """What Galley sends, until it ends the call or begins another."""
    ended = asyncio.create_task(replaced.wait(), name="mcp call replaced")
    try:
        while not ended.done():
            read = asyncio.ensure_future(context.read())
            await asyncio.wait([read, ended], return_when=asyncio.FIRST_COMPLETED)
            if not read.done():
                read.cancel()
                return
            if not isinstance(response := read.result(), mcp.Resources):  # grpc.aio.EOF
                return
            yield response
    finally:
        ended.cancel()
