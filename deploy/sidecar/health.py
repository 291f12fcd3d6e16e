# SPDX-License-Identifier: Apache-2.0
"""Whether the application is healthy, found out by asking it from inside its own namespace, where no mutual TLS stands between."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import httpx
import structlog

from common.lifecycle.http import split_address
from deploy.sidecar.settings import SidecarSettings

log = structlog.get_logger("health")

Check = Callable[[], Awaitable[str | None]]
"""Asks once: None when healthy, else why not. Has its own timeout."""


class Health:
    """The application's health as of the last check. Without a check it counts as healthy."""

    def __init__(self, check: Check | None, *, interval: float) -> None:
        self._check = check
        self._interval = interval
        self.problem: str | None = None if check is None else "not checked yet"

    @property
    def healthy(self) -> bool:
        return self.problem is None

    async def watch(self, on_change: Callable[[], None]) -> None:
        """Check for ever; `on_change` is called whenever health turns."""
        if self._check is None:
            return
        while True:
            problem = await self._check()
            turned = (problem is None) != (self.problem is None)
            self.problem = problem
            if turned:
                log.info("the application is healthy" if problem is None else "the application is unhealthy", reason=problem)
                on_change()
            await asyncio.sleep(self._interval)


def check_of(settings: SidecarSettings) -> Check | None:
    """The health check that the settings ask for."""
    if settings.health_url:
        return lambda: ask_http(settings.health_url, settings.health_timeout)
    if settings.health_tcp:
        return lambda: ask_tcp(settings.health_tcp, settings.health_timeout)
    return None


async def ask_http(url: str, timeout: float) -> str | None:
    """Healthy when the answer's status is 200-399, as Kubernetes has it."""
    try:
        async with asyncio.timeout(timeout), httpx.AsyncClient(follow_redirects=False) as client:
            answer = await client.get(url, headers={"User-Agent": "fourmast-probe", "Connection": "close"})
    except TimeoutError:
        return f"{url} did not answer within {timeout:g} s"
    except (httpx.HTTPError, OSError) as error:
        return f"{url}: {error or type(error).__name__}"
    return None if 200 <= answer.status_code < 400 else f"{url} answered {answer.status_code}"


async def ask_tcp(address: str, timeout: float) -> str | None:
    """Healthy when the port accepts a connection."""
    host, port = split_address(address)
    try:
        async with asyncio.timeout(timeout):
            _, writer = await asyncio.open_connection(host, port)
    except TimeoutError:
        return f"{address} did not accept a connection within {timeout:g} s"
    except OSError as error:
        return f"{address}: {error.strerror or error}"
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return None
