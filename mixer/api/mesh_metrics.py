# SPDX-License-Identifier: Apache-2.0
"""`/metrics` on port 42422: the mesh metrics that the prometheus adapter made. Open to scrapers, as in Istio; it shows nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from mixer.adapters.exposition import MetricsPage

Scope = MutableMapping[str, Any]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Asgi = Callable[[Scope, Any, Send], Awaitable[None]]


def mesh_metrics_app(page: MetricsPage) -> Asgi:
    """An ASGI application with this one page."""

    async def app(scope: Scope, receive: Any, send: Send) -> None:
        if scope["type"] != "http":
            return
        if scope["path"] != "/metrics":
            status, content_type, body = 404, "text/plain", b"the page is /metrics\n"
        elif scope["method"] not in ("GET", "HEAD"):
            status, content_type, body = 405, "text/plain", b"only GET\n"
        else:
            page.sweep()
            status, content_type, body = 200, page.CONTENT_TYPE, await asyncio.to_thread(page.text)
        headers = [(b"content-type", content_type.encode()), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

    return app
