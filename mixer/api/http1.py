# SPDX-License-Identifier: Apache-2.0
"""The listener of the fast Check: HTTP/1.1 over mutual TLS, written on asyncio's Protocol.

An ASGI server costs three times as much for each question, and uvicorn does not pass the peer's certificate on. This speaks only what
Envoy's client speaks: POST with a length, keep-alive, one question at a time on a connection. While one is answered, the socket is not read.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from socket import socket
from typing import Final

import httptools
import structlog

from common.checkprotocol.message import MAX_BODY, PATH, Answer, MessageError, Question
from common.identity.spiffe import SpiffeId
from common.identity.tls import peer_of_certificate

log = structlog.get_logger("api")

Answerer = Callable[[Question, SpiffeId], Awaitable[Answer]]
Identify = Callable[[asyncio.Transport], SpiffeId | None]

MAX_HEADERS: Final = 64
MAX_UNFINISHED: Final = 2 * MAX_BODY
"""Bytes of an incomplete question, however it is framed: the parser itself would hold a header without end."""
SLOW_AFTER: Final = 10.0  # seconds in which a question that has begun must be complete
_REASONS: Final = {
    400: b"Bad Request",
    404: b"Not Found",
    405: b"Method Not Allowed",
    413: b"Content Too Large",
    500: b"Internal Server Error",
}


def peer_of_transport(transport: asyncio.Transport) -> SpiffeId | None:
    """The identity in the client certificate that TLS verified."""
    connection = transport.get_extra_info("ssl_object")
    return peer_of_certificate(connection.getpeercert(binary_form=True)) if connection is not None else None


class _Refused(Exception):
    """A request that is answered with a status."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class _Connection(asyncio.Protocol):
    """One connection of an Envoy worker."""

    def __init__(self, server: _Server) -> None:
        self._server = server
        self._transport: asyncio.Transport | None = None
        self._peer: SpiffeId | None = None
        self._parser = httptools.HttpRequestParser(self)
        self._waiting: deque[tuple[bytes, bool]] = deque()
        self._task: asyncio.Task[None] | None = None
        self._writable = asyncio.Event()
        self._writable.set()
        self._url = b""
        self._body: list[bytes] = []
        self._size = self._headers = self._unfinished = 0
        self._closing = False
        self.began: float | None = None
        """Loop time at which an incomplete question began."""

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._peer = self._server.identify(transport)
        if self._peer is None:
            log.warning("fast check: a peer without a SPIFFE identity is refused", peer=str(transport.get_extra_info("peername")))
            transport.abort()
            return
        self._server.remember(self)

    def data_received(self, data: bytes) -> None:
        self._unfinished += len(data)
        try:
            self._parser.feed_data(data)
            if self._unfinished > MAX_UNFINISHED:
                self._refuse(413)
        except httptools.HttpParserCallbackError as error:
            self._refuse(error.__context__.status if isinstance(error.__context__, _Refused) else 400)
        except httptools.HttpParserError:
            self._refuse(400)

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.forget(self)
        self._closing = True
        self._writable.set()
        if self._task is not None:
            self._task.cancel()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    # httptools

    def on_message_begin(self) -> None:
        self._url, self._body, self._size, self._headers = b"", [], 0, 0
        self.began = asyncio.get_running_loop().time()

    def on_url(self, url: bytes) -> None:
        self._url += url
        if len(self._url) > len(PATH):
            raise _Refused(404)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers += 1
        if self._headers > MAX_HEADERS or (name.lower() == b"content-length" and int(value) > MAX_BODY):
            raise _Refused(413)

    def on_headers_complete(self) -> None:
        if self._url != PATH.encode():
            raise _Refused(404)
        if self._parser.get_method() != b"POST":
            raise _Refused(405)

    def on_body(self, body: bytes) -> None:
        self._size += len(body)
        if self._size > MAX_BODY:
            raise _Refused(413)
        self._body.append(body)

    def on_message_complete(self) -> None:
        self.began, self._unfinished = None, 0
        self._waiting.append((b"".join(self._body), self._parser.should_keep_alive()))
        self._body = []
        if self._task is None and self._transport is not None:
            self._transport.pause_reading()
            self._task = asyncio.get_running_loop().create_task(self._answer_waiting(), name="fast check")

    # our own

    def close_when_idle(self) -> None:
        """Drain: nothing new is read; what is being answered goes out with `connection: close`."""
        self._closing = True
        if self._task is None and self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    async def _answer_waiting(self) -> None:
        assert self._transport is not None
        assert self._peer is not None
        while self._waiting:
            body, keep = self._waiting.popleft()
            status, answer = await self._answer(body, self._peer)
            await self._writable.wait()
            if self._transport.is_closing():
                return
            keep = keep and status == 200 and not self._closing
            self._transport.write(_response(status, answer, keep=keep))
            if not keep:
                self._transport.close()
                return
        self._task = None
        self._transport.resume_reading()

    async def _answer(self, body: bytes, peer: SpiffeId) -> tuple[int, bytes]:
        try:
            return 200, (await self._server.answerer(Question.parse(body), peer)).encode()
        except MessageError as error:
            log.warning("fast check: a question could not be read", peer=str(peer), error=str(error))
            return 400, str(error).encode()
        except Exception:
            log.exception("fast check failed", peer=str(peer))
            return 500, b"internal error"

    def _refuse(self, status: int) -> None:
        self._closing = True
        if self._transport is None or self._transport.is_closing():
            return
        if self._task is None:
            self._transport.write(_response(status, _REASONS[status], keep=False))
        self._transport.close()


def _response(status: int, body: bytes, *, keep: bool) -> bytes:
    reason = b"OK" if status == 200 else _REASONS[status]
    close = b"" if keep else b"connection: close\r\n"
    return b"HTTP/1.1 %d %b\r\n%bcontent-length: %d\r\n\r\n%b" % (status, reason, close, len(body), body)


class _Server:
    def __init__(self, answerer: Answerer, identify: Identify) -> None:
        self.answerer, self.identify = answerer, identify
        self.connections: set[_Connection] = set()
        self.empty = asyncio.Event()
        self.empty.set()

    def remember(self, connection: _Connection) -> None:
        self.connections.add(connection)
        self.empty.clear()

    def forget(self, connection: _Connection) -> None:
        self.connections.discard(connection)
        if not self.connections:
            self.empty.set()

    async def sweep(self) -> None:
        """Cut connections whose question has been arriving for too long."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(SLOW_AFTER / 2)
            for connection in list(self.connections):
                if connection.began is not None and loop.time() - connection.began > SLOW_AFTER:
                    connection.abort()


@contextlib.asynccontextmanager
async def serve_fast_check(
    answerer: Answerer, listener: socket, *, tls: ssl.SSLContext | None, identify: Identify = peer_of_transport, grace: float = 2.0
) -> AsyncIterator[str]:
    """Serve on a bound socket until the block is left; gives `host:port`. Leaving drains: open questions get `grace` seconds.

    Without `tls` somebody else must have identified the peer, and `identify` says whom (a Unix socket of the same machine; tests).
    """
    server = _Server(answerer, identify)
    loop = asyncio.get_running_loop()
    running = await loop.create_server(
        lambda: _Connection(server), sock=listener, ssl=tls, backlog=1024, ssl_handshake_timeout=SLOW_AFTER if tls else None
    )
    sweeper = loop.create_task(server.sweep(), name="fast check sweep")
    host, port = listener.getsockname()[:2]
    try:
        yield f"{host}:{port}"
    finally:
        sweeper.cancel()
        running.close()
        for connection in list(server.connections):
            connection.close_when_idle()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(server.empty.wait(), grace)
        for connection in list(server.connections):
            connection.abort()
