# SPDX-License-Identifier: Apache-2.0
"""The status port: /healthz/… for whoever decides about traffic, /quitquitquit for an application that ends its own proxy."""

from __future__ import annotations

import ipaddress
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class StatusApp:
    """An ASGI application. Each of `checks` (by path) says what is not as it should be, or None; `quit` begins the orderly stop."""

    def __init__(self, *, checks: Mapping[str, Callable[[], Awaitable[str | None]]], quit: Callable[[], None]) -> None:
        self._checks = checks
        self._quit = quit

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        status, text = await self._answer(scope)
        body = text.encode()
        headers = [
            (b"content-type", b"text/plain; charset=utf-8"),
            (b"content-length", str(len(body)).encode()),  # else uvicorn sends chunks, even to a client of HTTP/1.0
            (b"cache-control", b"no-store"),
        ]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _answer(self, scope: Message) -> tuple[int, str]:
        match scope["path"]:
            case path if path in self._checks:
                problem = await self._checks[path]()
                return (200, "") if problem is None else (503, f"{problem}\n")
            case "/quitquitquit":
                client = scope.get("client")
                if client is None or not ipaddress.ip_address(client[0]).is_loopback:
                    return 403, "only from loopback\n"
                if scope["method"] != "POST":
                    return 405, "POST\n"
                self._quit()
                return 200, "OK\n"
            case _:
                return 404, "not found\n"
