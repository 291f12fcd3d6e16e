# SPDX-License-Identifier: Apache-2.0
"""The webhook's HTTP: Istio 1.4's two paths, and `/ready`.

The API server bears no token of ours; whoever reaches this learns only whether an object would be valid, and changes nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from fastapi import FastAPI, Request, Response
from fastapi.responses import PlainTextResponse

from galley import metrics
from galley.api.backend import Backend
from galley.api.body import read_bytes
from galley.api.webhook.review import answer
from galley.errors import TooLargeError
from galley.sources.admission import Admitted

PATHS: Final = ("/admitpilot", "/admitmixer")
LARGEST: Final = 8 * 1024 * 1024
"""Bytes of a review; it carries the object as it was, too."""


def webhook_app(backend: Backend) -> FastAPI:
    app = FastAPI(title="Galley's admission webhook", docs_url=None, redoc_url=None, openapi_url=None)

    @app.get("/ready")
    async def ready() -> Response:
        return PlainTextResponse("ok") if backend.parts is not None else PlainTextResponse(backend.reason, 503)

    @app.post(PATHS[0], response_model=None)
    @app.post(PATHS[1], response_model=None)
    async def admit(request: Request) -> Response:
        if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
            return _error(415, "the content type must be application/json")
        try:
            body = await read_bytes(request, limit=LARGEST)
        except TooLargeError as error:
            return _error(413, str(error))
        if not body:
            return _error(400, "the body is empty")
        parts = backend.parts
        if parts is None:
            return _error(503, backend.reason)

        def check(document: Mapping[str, Any], namespace: str) -> Admitted:
            return parts.admission.document(document, namespace=namespace)

        # In a thread: an object of a megabyte must not hold up MCP.
        review = await asyncio.to_thread(answer, body, check)
        return Response(msgspec.json.encode(review), media_type="application/json")

    return app


def _error(status: int, message: str) -> Response:
    metrics.VALIDATION_HTTP_ERRORS.add(1, str(status))
    return PlainTextResponse(message, status)
