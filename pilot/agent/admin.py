# SPDX-License-Identifier: Apache-2.0
"""Envoy's admin interface over its Unix socket."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any

import httpx


class AdminUnavailable(Exception):
    """Envoy does not answer on its admin socket: it is starting, stopping or gone."""


class Admin:
    """A client of one Envoy's admin interface; an async context manager."""

    def __init__(self, socket: Path, *, timeout: float = 2.0) -> None:
        self._client = httpx.AsyncClient(transport=httpx.AsyncHTTPTransport(uds=str(socket)), base_url="http://envoy", timeout=timeout)

    async def __aenter__(self) -> Admin:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._client.aclose()

    async def get(self, path: str) -> str:
        """Raises AdminUnavailable when Envoy does not answer or answers with an error."""
        return await self._request("GET", path)

    async def post(self, path: str) -> str:
        """Most admin paths that change something want POST. Raises AdminUnavailable."""
        return await self._request("POST", path)

    async def state(self) -> str:
        """PRE_INITIALIZING, INITIALIZING, LIVE or DRAINING."""
        try:
            info: dict[str, Any] = (await self._response("GET", "/server_info")).json()
            return str(info["state"])
        except (ValueError, KeyError) as error:
            raise AdminUnavailable(f"/server_info: {error}") from error

    async def counters(self, pattern: str) -> dict[str, int]:
        """Counters and gauges whose name matches an RE2 pattern."""
        text = await self.get(f"/stats?filter={pattern}")
        rows = (line.rpartition(": ") for line in text.splitlines())
        return {name: int(value) for name, _, value in rows if value.isdigit()}

    async def _request(self, method: str, path: str) -> str:
        return (await self._response(method, path)).text

    async def _response(self, method: str, path: str) -> httpx.Response:
        try:
            response = await self._client.request(method, path)
            response.raise_for_status()
        except (httpx.HTTPError, OSError) as error:
            raise AdminUnavailable(f"{method} {path}: {error or type(error).__name__}") from error
        return response
