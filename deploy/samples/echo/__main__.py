# SPDX-License-Identifier: Apache-2.0
"""`python -m deploy.samples.echo`: /get, /headers, /status/N, /delay/SECONDS, /hello, /health.

The answers have httpbin's names (`args`, `headers`, `origin`, `url`) and say which instance gave them (`version`, `instance`) and how many
requests it had under way at once, now and at most (`concurrency`, `most_concurrent`). `FAIL_EVERY=2` answers 503 to every second request
to /get, / and /delay.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Iterator

from deploy.samples.web import Request, Response, json_response, run

VERSION = os.environ.get("SERVICE_VERSION", "v1")
INSTANCE = os.environ.get("WORKLOAD_NAME") or socket.gethostname()
FAIL_EVERY = int(os.environ.get("FAIL_EVERY", "0"))
LONGEST_DELAY = 30.0  # seconds
_served = _under_way = _most_under_way = 0


def _failing() -> bool:
    global _served
    _served += 1
    return FAIL_EVERY > 0 and _served % FAIL_EVERY == 0


@contextlib.contextmanager
def _counted() -> Iterator[None]:
    global _under_way, _most_under_way
    _under_way += 1
    _most_under_way = max(_most_under_way, _under_way)
    try:
        yield
    finally:
        _under_way -= 1


async def health(_: Request) -> Response:
    return Response(200, b"ok\n")


async def hello(_: Request) -> Response:
    return Response(200, f"Hello version: {VERSION}, instance: {INSTANCE}\n".encode())


async def get(request: Request) -> Response:
    with _counted():
        return _described(request)


async def delay(request: Request) -> Response:
    with _counted():
        await asyncio.sleep(min(float(request.found["seconds"]), LONGEST_DELAY))
        return _described(request)


def _described(request: Request) -> Response:
    if _failing():
        return json_response({"error": "failing on purpose", "version": VERSION, "instance": INSTANCE}, 503)
    host = request.headers.get("host", "")
    return json_response(
        {
            "args": request.query,
            "method": request.method,
            "path": request.path,
            "url": f"http://{host}{request.path}",
            "headers": request.headers,
            "origin": request.headers.get("x-forwarded-for", ""),
            "version": VERSION,
            "instance": INSTANCE,
            "concurrency": _under_way,
            "most_concurrent": _most_under_way,
        }
    )


async def headers(request: Request) -> Response:
    return json_response({"headers": request.headers})


async def status(request: Request) -> Response:
    code = int(request.found["code"])
    return Response(code, f"{code}\n".encode()) if 200 <= code <= 599 else Response(400, b"a status from 200 to 599, please\n")


if __name__ == "__main__":
    run(
        [
            ("GET", "/health", health),
            ("GET", "/hello", hello),
            ("*", "/get|/", get),
            ("GET", "/headers", headers),
            ("*", r"/status/(?P<code>\d{3})", status),
            ("*", r"/delay/(?P<seconds>\d+(\.\d+)?)", delay),
        ],
        port=8000,
    )
