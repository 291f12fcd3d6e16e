# SPDX-License-Identifier: Apache-2.0
"""`python -m deploy.samples.echo`: /get, /headers, /status/N, /delay/SECONDS, /health.

`FAIL_EVERY=2` answers 503 to every second request (but /health), `SERVICE_VERSION` and the host name say which instance answered.
"""

from __future__ import annotations

import asyncio
import os
import socket

from deploy.samples.web import Request, Response, json_response, run

VERSION = os.environ.get("SERVICE_VERSION", "v1")
FAIL_EVERY = int(os.environ.get("FAIL_EVERY", "0"))
LONGEST_DELAY = 30.0  # seconds
_served = 0


def _failing() -> bool:
    global _served
    _served += 1
    return FAIL_EVERY > 0 and _served % FAIL_EVERY == 0


async def health(_: Request) -> Response:
    return Response(200, b"ok\n")


async def get(request: Request) -> Response:
    if _failing():
        return json_response({"error": "failing on purpose", "version": VERSION}, 503)
    return json_response(
        {
            "method": request.method,
            "path": request.path,
            "query": request.query,
            "headers": request.headers,
            "version": VERSION,
            "instance": socket.gethostname(),
        }
    )


async def headers(request: Request) -> Response:
    return json_response({"headers": request.headers})


async def status(request: Request) -> Response:
    code = int(request.found["code"])
    return Response(code, f"{code}\n".encode()) if 200 <= code <= 599 else Response(400, b"a status from 200 to 599, please\n")


async def delay(request: Request) -> Response:
    await asyncio.sleep(min(float(request.found["seconds"]), LONGEST_DELAY))
    return await get(request)


if __name__ == "__main__":
    run(
        [
            ("GET", "/health", health),
            ("*", "/get|/", get),
            ("GET", "/headers", headers),
            ("*", r"/status/(?P<code>\d{3})", status),
            ("*", r"/delay/(?P<seconds>\d+(\.\d+)?)", delay),
        ],
        port=8000,
    )
