# SPDX-License-Identifier: Apache-2.0
"""Pilot's and Mixer's side of status: say what became of a resource. Coalesced by resource and type: a storm costs one call."""

from __future__ import annotations

import asyncio
import enum
import socket
from collections.abc import Callable
from typing import NamedTuple

import grpc
import grpc.aio
import structlog

from common.config.resource import ResourceKey
from common.identity.material import WorkloadIdentity
from common.identity.tls import grpc_channel
from common.proto.galley import v1_pb2, v1_pb2_grpc

log = structlog.get_logger("registration")

MOST_PENDING = 10_000  # reports kept while Galley is away; beyond it the oldest are dropped
CALL_TIMEOUT = 5.0  # seconds
RETRY_SECONDS = 1.0


class Verdict(enum.Enum):
    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


class _Report(NamedTuple):
    resource_version: str
    verdict: Verdict
    reason: str
    message: str


class StatusReporter:
    """Sends reports to Galley. `report` never waits and never fails; `run` is a coroutine that the part keeps going."""

    def __init__(
        self,
        identity: WorkloadIdentity,
        address: str | Callable[[], str],
        *,
        instance: str = "",
        pause: float = 0.2,
    ) -> None:
        """`pause` (seconds) is how long reports gather before they are sent together; `instance` defaults to the host name."""
        self._where = address if callable(address) else lambda: address
        self._identity = identity
        self._instance = instance or socket.gethostname()
        self._pause = pause
        self._pending: dict[tuple[ResourceKey, str], _Report] = {}
        self._wake = asyncio.Event()

    def report(self, key: ResourceKey, *, resource_version: str, type: str, verdict: Verdict, reason: str, message: str = "") -> None:
        """Newest wins for each (resource, type). `type` and `reason` are CamelCase, such as Programmed and RejectedByEnvoy."""
        self._pending.pop((key, type), None)
        self._pending[(key, type)] = _Report(resource_version, verdict, reason, message)
        while len(self._pending) > MOST_PENDING:
            self._pending.pop(next(iter(self._pending)))
        self._wake.set()

    async def run(self, stopping: asyncio.Event) -> None:
        """Send until `stopping`; what Galley did not take is kept and tried again every second."""
        stop = asyncio.create_task(stopping.wait(), name="status-reporter-stop")
        try:
            while not stop.done():
                wake = asyncio.create_task(self._wake.wait(), name="status-reporter-wake")
                await asyncio.wait([wake, stop], return_when=asyncio.FIRST_COMPLETED)
                wake.cancel()
                await asyncio.wait([stop], timeout=self._pause)
                if self._pending and not await self._send():
                    await asyncio.wait([stop], timeout=RETRY_SECONDS)
        finally:
            stop.cancel()

    async def _send(self) -> bool:
        self._wake.clear()
        batch, self._pending = self._pending, {}
        statuses = [
            v1_pb2.ResourceStatus(
                collection=key.collection,
                name=key.mcp_name,
                resource_version=report.resource_version,
                type=type_,
                verdict=report.verdict.name,
                reason=report.reason,
                message=report.message,
            )
            for (key, type_), report in batch.items()
        ]
        request = v1_pb2.ReportStatusRequest(instance=self._instance, statuses=statuses)
        try:
            # A channel for each send: reports are rare, and a new one shows the newest certificate to wherever Galley is now.
            async with grpc_channel(self._identity, self._where(), part="galley") as channel:
                await v1_pb2_grpc.StatusStub(channel).ReportStatus(request, timeout=CALL_TIMEOUT)  # type: ignore[no-untyped-call]
        except grpc.aio.AioRpcError as error:
            log.warning("galley did not take the status reports; trying again", code=error.code().name, reports=len(statuses))
            self._pending = batch | self._pending
            self._wake.set()
            return False
        return True
