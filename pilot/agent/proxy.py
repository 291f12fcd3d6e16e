# SPDX-License-Identifier: Apache-2.0
"""One Envoy as a component: writes its files, runs it, says whether it is ready."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from common.identity.private_file import write_private
from common.identity.spiffe import SpiffeId
from pilot.agent.admin import Admin, AdminUnavailable
from pilot.agent.bootstrap import bootstrap, environment
from pilot.agent.endpoints import ControlPlaneEndpoints
from pilot.agent.readiness import READY_STATS, Readiness
from pilot.agent.settings import ProxySettings
from pilot.agent.supervisor import Supervisor, command_line, envoy_binary


class Proxy:
    """What the sidecar holds of its Envoy. Make it with `running`."""

    def __init__(self, settings: ProxySettings, identity: SpiffeId, node_type: str, admin: Admin, sds_socket: Path) -> None:
        self.endpoints = ControlPlaneEndpoints(settings)
        self.endpoints.refresh()
        self.bootstrap: dict[str, Any] = bootstrap(
            settings, identity, node_type, sds_socket=sds_socket, endpoint_files=self.endpoints.files
        )
        self.admin = admin
        path = settings.state_dir / "bootstrap.json"
        write_private(path, json.dumps(self.bootstrap, indent=2).encode())
        self._readiness = Readiness()
        command = command_line(settings, envoy_binary(settings), path)
        self.supervisor = Supervisor(
            command,
            admin=admin,
            admin_socket=settings.admin_socket,
            drain_seconds=settings.drain_seconds,
            on_start=self._readiness.restarted,
            environment=environment(settings, identity),
        )

    async def problem(self) -> str | None:
        """Why the proxy may not get traffic now; None when it may."""
        if self.supervisor.pid is None:
            return "Envoy is not running"
        try:
            counters = {} if self._readiness.configured else await self.admin.counters(READY_STATS)
            return self._readiness.problem(await self.admin.state(), counters)
        except AdminUnavailable as error:
            return f"Envoy does not answer: {error}"

    async def until_ready(self, poll: float = 0.1) -> None:
        while await self.problem() is not None:  # noqa: ASYNC110 - Envoy tells nobody; it must be asked
            await asyncio.sleep(poll)


@contextlib.asynccontextmanager
async def running(settings: ProxySettings, identity: SpiffeId, node_type: str, *, sds_socket: Path) -> AsyncIterator[Proxy]:
    """Run Envoy while the block lasts; leaving it drains and stops Envoy. SDS must already be served on `sds_socket`."""
    async with Admin(settings.admin_socket) as admin:
        proxy = Proxy(settings, identity, node_type, admin, sds_socket)
        leave = asyncio.Event()
        supervisor = asyncio.create_task(proxy.supervisor.run(leave), name="envoy supervisor")
        follower = asyncio.create_task(proxy.endpoints.follow(), name="control plane endpoints")
        try:
            yield proxy
        finally:
            leave.set()
            follower.cancel()
            try:
                await asyncio.shield(supervisor)
            except asyncio.CancelledError:  # no time to drain
                supervisor.cancel()
                await asyncio.gather(supervisor, return_exceptions=True)
                raise
