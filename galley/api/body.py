# SPDX-License-Identifier: Apache-2.0
"""Request bodies: bounded before a byte of them is parsed, and read only after the caller was authenticated."""

from __future__ import annotations

from typing import Any

import msgspec
from fastapi import HTTPException, Request

from galley.errors import BadRequestError, TooLargeError

LARGEST = 4 * 1024 * 1024  # bytes
BINARY = ("application/vnd.kubernetes.protobuf", "application/cbor")
"""Forms that only Kubernetes' own types have."""


async def read_object(request: Request, *, limit: int = LARGEST) -> dict[str, Any]:
    """The body as a JSON object. Raises TooLargeError or BadRequestError."""
    value = await read_json(request, limit=limit)
    if not isinstance(value, dict):
        raise BadRequestError("the body must be a JSON object")
    return value


async def read_json(request: Request, *, limit: int = LARGEST) -> Any:
    """The body as a JSON value. Raises TooLargeError or BadRequestError, and HTTPException (415) for Kubernetes' binary form."""
    if request.headers.get("content-type", "").partition(";")[0].strip() in BINARY:
        raise HTTPException(415, "objects are read as JSON only; with kubectl, use `kubectl apply` or `kubectl create -f`")
    raw = await read_bytes(request, limit=limit)
    try:
        return msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadRequestError(f"the body is not JSON: {error}") from error
    except RecursionError as error:
        raise BadRequestError("the body is nested too deeply") from error


async def read_bytes(request: Request, *, limit: int = LARGEST) -> bytes:
    declared = request.headers.get("content-length", "0")
    if declared.isdigit() and int(declared) > limit:
        raise TooLargeError(f"the body has {declared} bytes; at most {limit} are read")
    chunks, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > limit:
            raise TooLargeError(f"the body has more than {limit} bytes")
        chunks.append(chunk)
    return b"".join(chunks)
