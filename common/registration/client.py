# SPDX-License-Identifier: Apache-2.0
"""The agent's side of registration: register, heartbeat, register again when Galley forgot, deregister at the end.

Galley being away never disturbs the workload: the loop tries again every interval until it succeeds.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import grpc
import grpc.aio
import structlog

from common.identity.material import WorkloadIdentity
from common.identity.tls import grpc_channel
from common.proto.galley import v1_pb2, v1_pb2_grpc

log = structlog.get_logger("registration")

CALL_TIMEOUT = 2.0  # seconds; shorter than a lease, so that one lost answer does not end it
GOODBYE_TIMEOUT = 1.0  # seconds that leaving may take; after that the lease simply runs out


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """What an agent says about its workload. Namespace and service account are read from the certificate, so they cannot be said here.

    `name` is the WorkloadEntry's, unique in the namespace. `address` counts only when Galley sees the agent on loopback.
    `proxy_version` is that of the agent, which configures the proxy: the analysis compares it with the control plane's.
    """

    name: str
    address: str = ""
    ports: Mapping[str, int] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    network: str = ""
    locality: str = ""
    weight: int = 0
    proxy_version: str = ""


@asynccontextmanager
async def registration(
    identity: WorkloadIdentity,
    address: str | Callable[[], str],
    workload: Workload,
    health: Callable[[], bool],
    *,
    interval: float = 1.0,
) -> AsyncIterator[Registration]:
    """Keep `workload` registered with the Galley at `address` (host:port, or a function that says where it is now) while the block runs.

    Returns at once: registration goes on in the background and follows Galley's restarts. `health()` is asked at every beat (`interval`
    seconds); an unhealthy workload leaves discovery and comes back when healthy. Leaving the block deregisters.
    """
    where = address if callable(address) else lambda: address
    keeper = Registration(identity, where, workload, health, interval)
    task = asyncio.create_task(keeper.run(), name=f"registration:{workload.name}")
    try:
        yield keeper
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        await keeper.leave()


class Registration:
    """The loop behind `registration`. `registered` says whether the last beat was answered; `beat_now()` sends health without waiting."""

    def __init__(
        self, identity: WorkloadIdentity, where: Callable[[], str], workload: Workload, health: Callable[[], bool], interval: float
    ) -> None:
        self._identity, self._where, self._workload, self._health, self._interval = identity, where, workload, health, interval
        self._lease = ""
        self._dialled = ""
        self._channel: grpc.aio.Channel | None = None
        self._now = asyncio.Event()
        self.registered = asyncio.Event()

    def beat_now(self) -> None:
        """Health changed: tell Galley now instead of at the next beat."""
        self._now.set()

    async def run(self) -> None:
        complained = False
        while True:
            try:
                await self._beat()
                complained = False
            except grpc.aio.AioRpcError as error:
                self.registered.clear()
                if not complained:
                    log.warning(
                        "galley does not take the registration; trying again",
                        workload=self._workload.name,
                        code=error.code().name,
                        detail=error.details(),
                    )
                complained = True
                await self._hang_up()  # the next attempt finds a moved Galley, and shows the newest certificate
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._interval):  # wait_for would lose a cancellation that comes together with the wake
                    await self._now.wait()
            self._now.clear()

    async def leave(self) -> None:
        """Deregister if there is a lease, and close the connection. Never raises: an unreachable Galley lets the lease run out."""
        if self._channel is not None and self._lease:
            with contextlib.suppress(grpc.aio.AioRpcError, asyncio.CancelledError):
                await self._stub().Deregister(v1_pb2.DeregisterRequest(lease=self._lease), timeout=GOODBYE_TIMEOUT)
        await self._hang_up()

    async def _beat(self) -> None:
        stub = await self._connected()
        healthy = self._health()
        if self._lease:
            try:
                await stub.Heartbeat(v1_pb2.HeartbeatRequest(lease=self._lease, healthy=healthy), timeout=CALL_TIMEOUT)
                self.registered.set()
                return
            except grpc.aio.AioRpcError as error:
                if error.code() is not grpc.StatusCode.NOT_FOUND:
                    raise
                log.info("galley forgot the lease; registering again", workload=self._workload.name)
                self._lease = ""
        answer = await stub.Register(v1_pb2.RegisterRequest(workload=_message(self._workload), healthy=healthy), timeout=CALL_TIMEOUT)
        self._lease = answer.lease
        self.registered.set()
        log.info("registered", workload=self._workload.name, address=answer.address, healthy=healthy)

    async def _connected(self) -> v1_pb2_grpc.RegistrationStub:
        to = self._where()
        if to != self._dialled:
            await self._hang_up()
        if self._channel is None:
            self._channel, self._dialled = grpc_channel(self._identity, to, part="galley"), to
        return self._stub()

    async def _hang_up(self) -> None:
        channel, self._channel = self._channel, None
        if channel is not None:
            await channel.close()

    def _stub(self) -> v1_pb2_grpc.RegistrationStub:
        return v1_pb2_grpc.RegistrationStub(self._channel)  # type: ignore[no-untyped-call]


def _message(workload: Workload) -> v1_pb2.Workload:
    return v1_pb2.Workload(
        name=workload.name,
        address=workload.address,
        ports=dict(workload.ports),
        labels=dict(workload.labels),
        network=workload.network,
        locality=workload.locality,
        weight=workload.weight,
        proxy_version=workload.proxy_version,
    )
