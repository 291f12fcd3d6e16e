# SPDX-License-Identifier: Apache-2.0
"""Whether the application is healthy, found out by asking it from inside its own namespace, where no mutual TLS stands between."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from urllib.parse import urlsplit

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
    """Healthy when the answer's status is 200-399, as Kubernetes has it. Redirects are an answer; they are not followed.

    Written on a plain stream, because an HTTP client made for each question took a twentieth of a core for each sidecar.
    """
    parts = urlsplit(url)
    request = f"GET {parts.path or '/'}{'?' + parts.query if parts.query else ''} HTTP/1.1\r\nHost: {parts.netloc}\r\n"
    try:
        async with asyncio.timeout(timeout), _connected(parts.hostname or "", parts.port or 80) as (reader, writer):
            writer.write(f"{request}User-Agent: fourmast-probe\r\nConnection: close\r\n\r\n".encode())
            status = await reader.readline()
    except TimeoutError:
        return f"{url} did not answer within {timeout:g} s"
    except OSError as error:
        return f"{url}: {error.strerror or error or type(error).__name__}"
    except ValueError:  # a line without an end
        status = b""
    words = status.split()
    if len(words) < 2 or not words[0].startswith(b"HTTP/1.") or not words[1].isdigit():
        return f"{url} did not answer in HTTP"
    return None if 200 <= int(words[1]) < 400 else f"{url} answered {int(words[1])}"


async def ask_tcp(address: str, timeout: float) -> str | None:
    """Healthy when the port accepts a connection."""
    host, port = split_address(address)
    try:
        async with asyncio.timeout(timeout), _connected(host, port):
            return None
    except TimeoutError:
        return f"{address} did not accept a connection within {timeout:g} s"
    except OSError as error:
        return f"{address}: {error.strerror or error}"


@contextlib.asynccontextmanager
async def _connected(host: str, port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection(host, port)
    try:
        yield reader, writer
    finally:
        writer.close()
