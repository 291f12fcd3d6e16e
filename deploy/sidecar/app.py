# SPDX-License-Identifier: Apache-2.0
"""The sidecar, from top to bottom: an identity, its secrets for Envoy, Envoy, and the workload's place in the mesh.

Each step stands inside the one before, so that leaving them in reverse order is the orderly end: leave the mesh, drain, stop, go.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.metadata
import os
import signal
from collections.abc import AsyncIterator, Callable

import structlog

from citadel.agent.sds import sds_server
from common.identity.enrolment import enrol
from common.identity.errors import EnrolmentError
from common.identity.material import WorkloadIdentity
from common.lifecycle import Component, Life
from common.lifecycle.host import StartError
from common.lifecycle.http import address_of, bind, serve_http
from common.mesh.node import ProxyType
from common.registration import Workload, registration
from deploy.sidecar.health import Health, check_of
from deploy.sidecar.settings import SidecarSettings
from pilot.agent.proxy import Proxy, running
from pilot.agent.status import StatusApp

log = structlog.get_logger("sidecar")

GALLEY = "galley-registration"
"""Galley's name in the addresses file."""


def build(settings: SidecarSettings, node_type: ProxyType) -> Component:
    """A sidecar (beside an application) or a router (a gateway, alone)."""
    return Sidecar(settings, node_type)


class Sidecar:
    """Enrol -> SDS -> Envoy -> health -> registration."""

    name = "sidecar"

    def __init__(self, settings: SidecarSettings, node_type: ProxyType) -> None:
        self._settings = settings
        self._node_type = node_type
        self._proxy: Proxy | None = None
        self._health = Health(check_of(settings), interval=settings.health_interval)
        self._registered = asyncio.Event()
        self._on_health: Callable[[], None] = lambda: None
        self._in_mesh = False

    async def run(self, life: Life) -> None:
        sock = bind(self._settings.status_address)
        checks = {"/healthz/ready": self._not_ready, "/healthz/registered": self._not_registered}
        async with serve_http(StatusApp(checks=checks, quit=_stop_this_process), sock):
            life.listening("status", address_of(sock))
            living = asyncio.create_task(self._live(life), name="sidecar life")
            stop = asyncio.create_task(life.stopping.wait(), name="stop")
            try:
                await asyncio.wait([living, stop], return_when=asyncio.FIRST_COMPLETED)
                if not living.done() and not self._in_mesh:
                    living.cancel()  # nobody sends it anything yet
                with contextlib.suppress(asyncio.CancelledError):
                    await living
            finally:
                stop.cancel()
                living.cancel()
                await asyncio.gather(living, return_exceptions=True)

    async def _live(self, life: Life) -> None:
        settings = self._settings
        joining = enrol(
            join_file=settings.join_file,
            citadel_address=settings.citadel_address,
            renewal_address=settings.citadel_renewal_address,
            state_dir=settings.state_dir,
            name=settings.name,
        )
        try:
            life.not_ready("joining the mesh")
            identity = await joining.__aenter__()
        except EnrolmentError as error:
            raise StartError(f"{settings.name} cannot join the mesh: {error}") from error
        async with contextlib.AsyncExitStack() as stack:
            stack.push_async_exit(joining)
            sds_socket = await stack.enter_async_context(sds_server(identity, folder=settings.state_dir / "sds"))
            proxy = await stack.enter_async_context(running(settings, identity.spiffe_id, self._node_type, sds_socket=sds_socket))
            await stack.enter_async_context(self._health_watched())
            self._proxy = proxy
            life.not_ready("waiting for Envoy and the application")
            await proxy.until_ready()
            while not self._health.healthy:  # noqa: ASYNC110 - the application tells nobody
                await asyncio.sleep(0.05)
            await self._be_in_mesh(life, identity, proxy)

    async def _be_in_mesh(self, life: Life, identity: WorkloadIdentity, proxy: Proxy) -> None:
        settings = self._settings
        workload = Workload(
            name=settings.name,
            address=settings.ip,
            ports=settings.ports,
            labels=settings.labels,
            locality=settings.locality,
            proxy_version=importlib.metadata.version("fourmast-common"),
        )

        def galley() -> str:
            return proxy.endpoints.other(GALLEY) or settings.galley_address

        self._in_mesh = True
        async with registration(
            identity, galley, workload, lambda: self._health.healthy, interval=settings.heartbeat_interval
        ) as membership:
            self._registered = membership.registered
            self._on_health = membership.beat_now
            life.ready()
            await life.stopping.wait()
            life.not_ready("stopping")
        self._in_mesh = False
        log.info("left the mesh", workload=settings.name)

    @contextlib.asynccontextmanager
    async def _health_watched(self) -> AsyncIterator[None]:
        watching = asyncio.create_task(self._health.watch(lambda: self._on_health()), name="health")
        try:
            yield
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)

    async def _not_ready(self) -> str | None:
        return "the workload has not joined the mesh yet" if self._proxy is None else await self._proxy.problem()

    async def _not_registered(self) -> str | None:
        if not self._health.healthy:
            return f"the application is unhealthy: {self._health.problem}"
        return None if self._registered.is_set() else "Galley has not registered the workload yet"


def _stop_this_process() -> None:
    """By a signal, so that the host stops everything else in the process too."""
    os.kill(os.getpid(), signal.SIGTERM)
