# SPDX-License-Identifier: Apache-2.0
"""A small HTTP/1.1 server and client on asyncio, enough for applications that a mesh is shown with.

`BIND_HOST` and `PORT` say where to listen. `OUTBOUND_HOST`, where set, is connected to instead of the host in a URL, which then only
stands in the Host header: so applications find each other without interception.
"""

from __future__ import annotations

import asyncio
import http
import json
import os
import re
import signal
import urllib.parse
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, NamedTuple

LONGEST_BODY = 1024 * 1024  # bytes
IDLE = 75.0  # seconds before a quiet connection is closed
GRACE = 5.0  # seconds that requests under way have to end when the process is asked to stop
FORWARDED_HEADERS = (
    "x-request-id",
    "x-b3-traceid",
    "x-b3-spanid",
    "x-b3-parentspanid",
    "x-b3-sampled",
    "x-b3-flags",
    "b3",
    "x-ot-span-context",
    "x-datadog-trace-id",
    "x-datadog-parent-id",
    "x-datadog-sampling-priority",
    "traceparent",
    "tracestate",
    "user-agent",
    "end-user",
)
"""What an application passes on, so that spans join and routing by user works behind the first hop."""


class Request(NamedTuple):
    """`headers` have lower-case names; `query` the last value of each name; `found` the groups of the route's pattern."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    found: Mapping[str, str] = {}

    def form(self) -> dict[str, str]:
        return dict(urllib.parse.parse_qsl(self.body.decode(errors="replace")))

    def cookies(self) -> dict[str, str]:
        pairs = (part.strip().partition("=") for part in self.headers.get("cookie", "").split(";"))
        return {name: value for name, _, value in pairs if name}

    def forwarded(self) -> dict[str, str]:
        return {name: self.headers[name] for name in FORWARDED_HEADERS if name in self.headers}


class Response(NamedTuple):
    """An answer; of `fetch` too."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = {}

    def json(self) -> Any:
        return json.loads(self.body)


def json_response(value: object, status: int = 200) -> Response:
    return Response(status, json.dumps(value).encode(), {"content-type": "application/json"})


def html_response(text: str, status: int = 200) -> Response:
    return Response(status, text.encode(), {"content-type": "text/html; charset=utf-8"})


Handler = Callable[[Request], Awaitable[Response]]
Route = tuple[str, str, Handler]
"""Method, regular expression of the whole path, handler."""


class BadMessage(Exception):
    """What came is not HTTP that this module reads."""


async def _read_head(reader: asyncio.StreamReader) -> tuple[str, dict[str, str]]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.rstrip().split("\r\n")
    return first, {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}


async def _read_body(reader: asyncio.StreamReader, headers: Mapping[str, str], *, until_end: bool) -> bytes:
    if headers.get("transfer-encoding", "").lower() == "chunked":
        body = b""
        while size := int((await reader.readline()).split(b";")[0], 16):
            if not 0 < size <= LONGEST_BODY - len(body):
                raise BadMessage(f"the body is longer than {LONGEST_BODY} bytes")
            body += await reader.readexactly(size)
            await reader.readline()
        await reader.readline()
        return body
    if "content-length" in headers:
        length = int(headers["content-length"])
        if not 0 <= length <= LONGEST_BODY:
            raise BadMessage(f"the body is longer than {LONGEST_BODY} bytes")
        return await reader.readexactly(length)
    return await reader.read(LONGEST_BODY) if until_end else b""


class Site:
    """The connections of one listener. A request under way is answered even after `drain` was called; quiet connections are closed."""

    def __init__(self, routes: Sequence[Route]) -> None:
        self._routes = [(method, re.compile(pattern), handler) for method, pattern, handler in routes]
        self._quiet: set[asyncio.StreamWriter] = set()
        self._open: set[asyncio.Task[None]] = set()
        self._draining = False

    async def connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        try:
            while await self._exchange(reader, writer):
                pass
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, TimeoutError, BadMessage, ValueError):
            pass  # not HTTP, or gone: there is nobody to tell
        finally:
            self._open.discard(task)
            writer.close()

    async def drain(self) -> None:
        """Let what was begun be finished, for at most `GRACE` seconds."""
        self._draining = True
        for writer in self._quiet:
            writer.close()
        if self._open:
            await asyncio.wait(self._open, timeout=GRACE)

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        self._quiet.add(writer)
        try:
            async with asyncio.timeout(IDLE):
                first, headers = await _read_head(reader)
                self._quiet.discard(writer)
                body = await _read_body(reader, headers, until_end=False)
        finally:
            self._quiet.discard(writer)
        method, target, version = first.split(" ", 2)
        parts = urllib.parse.urlsplit(target)
        request = Request(method, parts.path, dict(urllib.parse.parse_qsl(parts.query)), headers, body)
        answer = await self._answer(request)
        keep = version == "HTTP/1.1" and headers.get("connection", "").lower() != "close" and not self._draining
        reason = http.HTTPStatus(answer.status).phrase if answer.status in http.HTTPStatus._value2member_map_ else "Status"
        lines = [f"HTTP/1.1 {answer.status} {reason}", *(f"{name}: {value}" for name, value in answer.headers.items())]
        lines += [f"content-length: {len(answer.body)}", f"connection: {'keep-alive' if keep else 'close'}"]
        writer.write("\r\n".join((*lines, "", "")).encode("latin-1") + (b"" if method == "HEAD" else answer.body))
        await writer.drain()
        return keep

    async def _answer(self, request: Request) -> Response:
        other_methods = False
        for method, pattern, handler in self._routes:
            if found := pattern.fullmatch(request.path):
                if method not in (request.method, "*") and not (request.method == "HEAD" and method == "GET"):
                    other_methods = True
                    continue
                try:
                    return await handler(request._replace(found=found.groupdict("")))
                except Exception as error:
                    return Response(500, f"{type(error).__name__}: {error}\n".encode())
        return Response(405 if other_methods else 404, b"not found\n")


def run(routes: Sequence[Route], *, port: int) -> None:
    """Serve until SIGTERM or Ctrl-C. `PORT` in the environment comes before `port`."""

    async def serve() -> None:
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        host = os.environ.get("BIND_HOST", "0.0.0.0")
        site = Site(routes)
        server = await asyncio.start_server(site.connection, host, int(os.environ.get("PORT", port)), backlog=512)
        await stop.wait()
        server.close()
        await site.drain()

    asyncio.run(serve())


async def fetch(url: str, *, timeout: float, method: str = "GET", headers: Mapping[str, str] = {}, body: bytes = b"") -> Response:
    """One request on a connection of its own. Raises OSError, TimeoutError (after `timeout` seconds), BadMessage, or ValueError for a URL
    or header that cannot be sent."""
    parts = urllib.parse.urlsplit(url)
    if parts.scheme != "http" or not parts.hostname:
        raise ValueError(f"{url!r} is not of the form http://host[:port]/path")
    port = parts.port or 80
    path = urllib.parse.urlunsplit(("", "", parts.path or "/", parts.query, ""))
    fields = {"host": parts.hostname if port == 80 else f"{parts.hostname}:{port}", "connection": "close", "accept": "*/*", **headers}
    if body:
        fields["content-length"] = str(len(body))
    if any(character in text for pair in fields.items() for text in pair for character in "\r\n\0"):
        raise ValueError("a header must not hold a line break")
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    async with asyncio.timeout(timeout):
        reader, writer = await asyncio.open_connection(os.environ.get("OUTBOUND_HOST") or parts.hostname, port)
        try:
            writer.write(f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode("latin-1") + body)
            await writer.drain()
            first, answered = await _read_head(reader)
            content = await _read_body(reader, answered, until_end=True)
            return Response(int(first.split()[1]), content, answered)
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, IndexError, ValueError) as error:
            raise BadMessage("the connection was closed before a whole answer came") from error
        finally:
            writer.close()
