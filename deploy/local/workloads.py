# SPDX-License-Identifier: Apache-2.0
"""One workload of a running mesh: its application and its sidecar, started and stopped together or apart."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from common.identity.private_file import write_private
from common.mesh import names
from deploy.local.ask import ask, until
from deploy.local.control_plane import StartFailed
from deploy.local.place import Places
from deploy.local.plan import Instance
from deploy.local.processes import Process
from pilot.agent.admin import Admin

READY_WITHIN = 60.0  # seconds, on a machine where ten Envoys start at the same time
EXEC_LIMIT = 120.0  # seconds


class Workload:
    """A handle for people, the demo and the tests."""

    def __init__(self, instance: Instance, *, folder: Path, places: Places, shared: Path, log_dir: Path, log_level: str) -> None:
        self.instance = instance
        self.folder = folder
        self._places = places
        self._status = f"{instance.ip}:{names.SIDECAR_STATUS}"
        command = instance.command()
        self.application = (
            Process(instance.name, command, places.application(instance), log_dir / f"{instance.name}.log") if command else None
        )
        self.sidecar: Process | None = None
        if instance.spec.sidecar:
            config = folder / "proxy.yaml"
            self._write(config, json.dumps(_settings(instance, folder, shared, log_level), indent=1).encode())
            agent = [sys.executable, "-m", "deploy.sidecar.cli", "proxy", instance.spec.type, "--config", str(config)]
            self.sidecar = Process(
                f"{instance.name}-proxy", agent, places.sidecar(instance, folder, shared), log_dir / f"{instance.name}-proxy.log"
            )

    @property
    def name(self) -> str:
        return self.instance.name

    @property
    def ip(self) -> str:
        return self.instance.ip

    def join(self, join_file: dict[str, Any]) -> None:
        """Put the join file where the sidecar looks for it."""
        self._write(self.folder / "join.json", json.dumps(join_file).encode())

    async def start(self, *, registered: bool = True) -> None:
        """Start it and wait until it is in the mesh. The application starts when its proxy is ready, so that no call of it goes astray.

        `registered=False` does not wait for Galley, which may be away. Raises StartFailed.
        """
        if self.sidecar is not None:
            await self.sidecar.start()
            await self._until("/healthz/ready", self.sidecar)
        if self.application is not None:
            await self.application.start()
        if self.sidecar is not None and registered:
            await self._until("/healthz/registered", self.sidecar, self.application)

    async def stop(self) -> None:
        """In order: the sidecar leaves the mesh and drains while the application still answers."""
        for process in (self.sidecar, self.application):
            if process is not None:
                await process.stop()

    async def end(self, grace: float) -> None:
        """Both at the same moment, for the end of the whole mesh: nobody is left whose requests could be lost."""
        await asyncio.gather(*(process.stop(grace) for process in (self.sidecar, self.application) if process is not None))

    async def kill(self) -> None:
        """As if its machine lost power: application and proxy at the same moment, nobody says goodbye."""
        await asyncio.gather(*(process.kill() for process in (self.sidecar, self.application) if process is not None))

    async def kill_application(self) -> None:
        """The application crashes; its sidecar lives and tells the mesh."""
        if self.application is not None:
            await self.application.kill()

    async def restart(self) -> None:
        await self.stop()
        await self.start()

    async def admin(self, path: str, *, method: str = "GET") -> str:
        """What its Envoy's admin interface answers. Raises AdminUnavailable."""
        async with Admin(self.folder / "admin.sock", timeout=10) as admin:
            return await (admin.post(path) if method == "POST" else admin.get(path))

    async def exec(self, command: Sequence[str], *, timeout: float = EXEC_LIMIT) -> tuple[int, str]:
        """Run a command beside the application, as its user; the exit code and what it printed."""
        argv = list(command)
        if argv[0] in ("python", "python3"):
            argv[0] = sys.executable
        place = self._places.application(self.instance)
        process = await asyncio.create_subprocess_exec(
            *place.command(argv),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=dict(place.environment),
            start_new_session=True,
        )
        try:
            output, _ = await asyncio.wait_for(process.communicate(), timeout)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        return process.returncode or 0, output.decode(errors="replace")

    async def problem(self) -> str | None:
        """Why it is not in the mesh; None when it is."""
        if self.application is not None and self.application.pid is None:
            return "its application does not run"
        if self.sidecar is None:
            return None
        if self.sidecar.pid is None:
            return "its sidecar does not run"
        return await self._ask("/healthz/registered")

    async def _until(self, path: str, *running: Process | None) -> None:
        async def look() -> str | None:
            for process in running:
                if process is not None and process.exit_code is not None:
                    raise StartFailed(f"{process.name} ended with exit code {process.exit_code}:\n{process.last_lines()}")
            return await self._ask(path)

        problem = await until(look, timeout=READY_WITHIN, every=0.1)
        if problem is not None and self.sidecar is not None:
            raise StartFailed(f"{self.name} is not in the mesh after {READY_WITHIN:.0f} s: {problem}\n{self.sidecar.last_lines()}")

    async def _ask(self, path: str) -> str | None:
        try:
            status, text = await ask(self._status, path, self._places.new_socket)
        except OSError as error:
            return f"its sidecar does not answer yet ({error.strerror or type(error).__name__})"
        return None if status == 200 else text.strip()

    def _write(self, path: Path, content: bytes) -> None:
        write_private(path, content)
        if self._places.proxy_uid is not None:
            for owned in (self.folder, path):
                os.chown(owned, self._places.proxy_uid, self._places.proxy_uid)

    def forget(self) -> None:
        """Remove its state: the next start needs a new join file."""
        shutil.rmtree(self.folder, ignore_errors=True)


def _settings(instance: Instance, folder: Path, shared: Path, log_level: str) -> dict[str, Any]:
    spec = instance.spec
    settings: dict[str, Any] = {
        "state_dir": str(folder),
        "join_file": str(folder / "join.json"),
        "addresses_file": str(shared / "addresses.json"),
        "name": instance.name,
        "workload_name": spec.name,
        "ip": instance.ip,
        "labels": spec.labels,
        "ports": spec.ports,
        "locality": spec.locality,
        "concurrency": spec.concurrency,
        "status_address": instance.status_address,
        "stats_address": instance.stats_address,
        "log_output_level": f"default:{log_level}",
    }
    if instance.outbound_host:
        settings |= {
            "interception_mode": "NONE",
            "outbound_bind_address": instance.outbound_host,
            "application_address": instance.application_ip,
        }
    if spec.health is not None:
        settings |= {"health_interval": spec.health.intervalSeconds, "health_timeout": spec.health.timeoutSeconds}
        if spec.health.http is not None:
            settings["health_url"] = f"http://{instance.application_ip}:{spec.health.http.port}{spec.health.http.path}"
        elif spec.health.tcp is not None:
            settings["health_tcp"] = f"{instance.application_ip}:{spec.health.tcp.port}"
    return settings
