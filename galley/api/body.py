# SPDX-License-Identifier: Apache-2.0
"""Request bodies: bounded before a byte of them is parsed, and read only after the caller was authenticated."""

from __future__ import annotations

from typing import Any

import msgspec
from fastapi import Request

from galley.api import binary
from galley.errors import BadRequestError, TooLargeError

LARGEST = 4 * 1024 * 1024  # bytes


async def read_object(request: Request, *, limit: int = LARGEST) -> dict[str, Any]:
    """The body as a JSON object. Raises TooLargeError or BadRequestError."""
    value = await read_json(request, limit=limit)
    if not isinstance(value, dict):
        raise BadRequestError("the body must be a JSON object")
    return value


async def read_json(request: Request, *, limit: int = LARGEST) -> Any:
    """The body as a JSON value, or as an object in Kubernetes' protobuf form turned into one. Raises TooLargeError or BadRequestError."""
    raw = await read_bytes(request, limit=limit)
    if request.headers.get("content-type", "").partition(";")[0].strip() == binary.MEDIA_TYPE:
        return binary.read(raw)
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
