# SPDX-License-Identifier: Apache-2.0
"""`GET /openapi/v2`, in the form that the client accepts."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
from functools import cache
from typing import Literal, NamedTuple

import msgspec
from fastapi import APIRouter, Request, Response

from galley.api.openapi.document import openapi_document
from galley.api.openapi.wire import to_wire

PROTOBUF = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
ACCEPTED_AS_PROTOBUF = (PROTOBUF, "application/com.github.proto-openapi.spec.v2@v1.0+protobuf")
"""Kubernetes has corrected the name once: `@` is no character of a media type. Old clients ask for that one, but cannot read it in an answer."""


class _Form(NamedTuple):
    body: bytes
    etag: str


def openapi_routes() -> APIRouter:
    router = APIRouter()

    @router.get("/openapi/v2", response_model=None)
    async def openapi_v2(request: Request) -> Response:
        accept = request.headers.get("accept", "")
        protobuf = any(name in accept for name in ACCEPTED_AS_PROTOBUF)
        # In a thread: the first time it takes a tenth of a second, and in istiod this loop also answers Mixer's checks.
        form = await asyncio.to_thread(_form, "protobuf" if protobuf else "json")
        headers = {"ETag": form.etag, "Vary": "Accept, Accept-Encoding", "Cache-Control": "no-cache"}
        if form.etag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        body = form.body
        if "gzip" in request.headers.get("accept-encoding", ""):
            headers["Content-Encoding"] = "gzip"
            body = await asyncio.to_thread(_packed, form.body)
        return Response(body, media_type=PROTOBUF if protobuf else "application/json", headers=headers)

    return router


@cache
def _form(name: Literal["protobuf", "json"]) -> _Form:
    document = openapi_document()
    body = to_wire(document) if name == "protobuf" else msgspec.json.encode(document)
    return _Form(body, f'"{hashlib.sha256(body).hexdigest()[:32]}"')


@cache
def _packed(body: bytes) -> bytes:
    return gzip.compress(body, 6, mtime=0)
