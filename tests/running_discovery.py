# SPDX-License-Identifier: Apache-2.0
"""Pilot's discovery behind its ADS server, without the parts around them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import grpc

from common.lifecycle.grpc import bind_grpc, grpc_server
from pilot.api.ads import AggregatedDiscovery
from pilot.api.discovery import Discovery
from pilot.api.reports import Reports
from pilot.xds.queue import Admission

Listener = tuple[str, grpc.ServerCredentials | None]


@contextlib.asynccontextmanager
async def running_discovery(discovery: Discovery, reports: Reports, *listeners: Listener) -> AsyncIterator[tuple[str, ...]]:
    """Serve until left. `listeners` are addresses with credentials, None for plaintext; yields the addresses that were bound."""
    server = grpc_server()
    admission = Admission(rate=1000, burst=1000)
    server.add_generic_rpc_handlers((AggregatedDiscovery(discovery, reports, trust_domain="cluster.local", admission=admission),))
    addresses = tuple(bind_grpc(server, address, credentials) for address, credentials in listeners)
    await server.start()
    task = asyncio.create_task(discovery.run())
    try:
        yield addresses
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await server.stop(0)
