# SPDX-License-Identifier: Apache-2.0
"""One HTTP/2 connection with one gRPC stream, non-blocking: just what a discovery client needs, at a few microseconds a frame.

Windows are Envoy's (16 MiB). Frames may be large (1 MiB), so that a thousand clients on one core are not busy with taking them apart.
Headers of the server are not decoded: that the stream ended is all that counts.
"""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import struct
from collections import deque
from collections.abc import Callable
from typing import cast

WINDOW = 16 * 1024 * 1024
FRAME, LARGEST_FRAME = 16_384, 1024 * 1024
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
END_STREAM, ACK, PADDED, END_HEADERS = 1, 1, 8, 4
STREAM = 1
READS = 64
"""Reads of one connection before the others get their turn."""

_buffer = bytearray(256 * 1024)
_view = memoryview(_buffer)
_sealed = bytearray(256 * 1024)
_sealed_view = memoryview(_sealed)


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def _literal(name: str, value: str) -> bytes:
    """A header field without indexing and without Huffman code (RFC 7541, 6.2.2)."""
    return b"\x00" + _length(len(name)) + name.encode() + _length(len(value)) + value.encode()


def _length(number: int) -> bytes:
    if number < 127:
        return bytes((number,))
    out, number = bytearray((127,)), number - 127
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes((*out, number))


def opening(method: str, authority: str, *, tls: bool) -> bytes:
    """Preface, settings and the request's headers."""
    settings = ((1, 0), (2, 0), (4, WINDOW), (5, LARGEST_FRAME))  # no header table, no push, initial window
    fields = {
        ":method": "POST",
        ":scheme": "https" if tls else "http",
        ":path": method,
        ":authority": authority,
        "te": "trailers",
        "content-type": "application/grpc",
    }
    return b"".join(
        (
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            frame(SETTINGS, 0, 0, b"".join(struct.pack(">HI", *pair) for pair in settings)),
            frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", WINDOW - 65_535)),
            frame(HEADERS, END_HEADERS, STREAM, b"".join(_literal(*field) for field in fields.items())),
        )
    )


class Connection:
    """`on_message` is called with each whole message, `on_close` once with a reason."""

    def __init__(
        self,
        address: tuple[str, int],
        method: str,
        *,
        tls: ssl.SSLContext | None,
        server_name: str,
        on_open: Callable[[], None],
        on_message: Callable[[bytearray], None],
        on_close: Callable[[str], None],
    ) -> None:
        self._method, self._tls, self._server_name = method, tls, server_name
        self._on_open, self._on_message, self._on_close = on_open, on_message, on_close
        self.received = 0
        """Bytes of data."""
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._session: ssl.SSLObject | None = None
        self._sealed_in, self._sealed_out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._socket.setblocking(False)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.connect_ex(address)
        self.fd = self._socket.fileno()
        self.events = select.EPOLLOUT
        self._open = self.closed = False
        self._out, self._sealed = bytearray(), bytearray()
        self._held: deque[bytes] = deque()  # messages that the peer's window has no room for
        self._window, self._stream_window, self._initial = 65_535, 65_535, 65_535
        self._unacknowledged = 0
        self._head = bytearray()
        self._left = 0
        self._control: tuple[int, int, bool] | None = None  # kind, flags, whether it is about the whole connection
        self._payload = bytearray()
        self._prefix = bytearray()
        self._message: bytearray | None = None
        self._rest: memoryview = _view[:0]
        """The part of the message that has not come yet."""

    # -- events ---------------------------------------------------------------------------------------------------------------------

    def ready(self, events: int) -> None:
        """The socket can be read or written, or failed."""
        try:
            if not self._open and not self._establish():
                return
            if events & ~select.EPOLLOUT:
                self._read()
            if events & select.EPOLLOUT:
                self._flush()
        except (OSError, ValueError) as error:
            self.close(f"{type(error).__name__}: {error}")

    def _establish(self) -> bool:
        if self._tls is None:
            if error := self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                raise OSError(error, "cannot connect")
        elif not self._shake_hands(self._tls):
            return False
        self._open = True
        self.events = select.EPOLLIN
        self._out += opening(self._method, self._server_name, tls=self._tls is not None)
        self._on_open()
        self._flush()
        return True

    def _shake_hands(self, tls: ssl.SSLContext) -> bool:
        """Whether the TLS session is there."""
        if self._session is None:
            self._session = tls.wrap_bio(self._sealed_in, self._sealed_out, server_hostname=self._server_name)
        else:
            self._fetch()
        try:
            self._session.do_handshake()
        except ssl.SSLWantReadError:
            self._put_out()
            self.events = select.EPOLLIN | (select.EPOLLOUT if self._sealed else 0)
            return False
        return True

    def close(self, reason: str) -> None:
        if not self.closed:
            self.closed = True
            self._socket.close()
            self._on_close(reason)

    # -- out ------------------------------------------------------------------------------------------------------------------------

    def send(self, message: bytes) -> None:
        """Send one message as soon as the peer's windows allow."""
        self._held.append(b"\0" + struct.pack(">I", len(message)) + message)
        self._release()
        self._flush()

    def _release(self) -> None:
        while self._held:
            room = min(self._window, self._stream_window, FRAME)
            if room <= 0:
                return
            message = self._held.popleft()
            piece, rest = message[:room], message[room:]
            if rest:
                self._held.appendleft(rest)
            self._window -= len(piece)
            self._stream_window -= len(piece)
            self._out += frame(DATA, 0, STREAM, piece)

    def _flush(self) -> None:
        if self.closed or not self._open:
            return
        if self._session is not None and self._out:
            self._session.write(self._out)
            self._out.clear()
        self._put_out()
        self.events = select.EPOLLIN | (select.EPOLLOUT if self._out or self._sealed else 0)

    def _put_out(self) -> None:
        """Hand the socket as much as it takes."""
        if self._session is not None:
            self._sealed += self._sealed_out.read()
        ready = self._out if self._session is None else self._sealed
        with contextlib.suppress(BlockingIOError):
            while ready:
                sent = self._socket.send(ready)
                del ready[:sent]

    # -- in -------------------------------------------------------------------------------------------------------------------------

    def _read(self) -> None:
        for _ in range(READS):
            straight = self._message is not None and self._left > 0 and self._control is None
            target = self._rest[: self._left] if straight else _view
            count = self._receive(target)
            if count is None:
                break
            if not count:
                self.close("the server closed the connection")
                return
            if straight:
                self._left -= count
                self._advance(count)
            else:
                self._feed(_view[:count])
            if self.closed or (count < len(target) and self._tls is None):
                break
        if self._unacknowledged >= WINDOW // 2:
            update = struct.pack(">I", self._unacknowledged)
            self._unacknowledged = 0
            self._out += frame(WINDOW_UPDATE, 0, 0, update) + frame(WINDOW_UPDATE, 0, STREAM, update)
        if self._out:
            self._flush()

    def _receive(self, target: memoryview) -> int | None:
        """Bytes read into `target`; 0 at the end, None when there are none now."""
        if self._session is None:
            try:
                return self._socket.recv_into(target)
            except BlockingIOError:
                return None
        while True:
            try:
                return cast(int, self._session.read(len(target), target))  # typeshed gives the type for a call without a buffer
            except ssl.SSLWantReadError:
                if (more := self._fetch()) is not True:
                    return more

    def _fetch(self) -> int | None:
        """Much at once from the socket into the TLS session, which by itself would read each record in two steps. True when there was some."""
        try:
            count = self._socket.recv_into(_sealed)
        except BlockingIOError:
            return None
        self._sealed_in.write(_sealed_view[:count])
        return True if count else 0

    @property
    def has_more(self) -> bool:
        """TLS holds more than was read; the socket would not say so."""
        return self._session is not None and not self.closed and self._open and (self._session.pending() > 0 or self._sealed_in.pending > 0)

    def _feed(self, data: memoryview) -> None:
        position, end = 0, len(data)
        while position < end:
            if self._left:
                take = min(self._left, end - position)
                piece = data[position : position + take]
                position += take
                self._left -= take
                if self._control is None:
                    self._body(piece)
                else:
                    self._payload += piece
                    if not self._left:
                        self._take_control()
                continue
            if self._head or end - position < 9:
                more = data[position : position + 9 - len(self._head)]
                self._head += more
                position += len(more)
                if len(self._head) < 9:
                    return
                head = memoryview(bytes(self._head))
                self._head.clear()
            else:
                head = data[position : position + 9]
                position += 9
            self._left = head[0] << 16 | head[1] << 8 | head[2]
            kind, flags = head[3], head[4]
            if kind == DATA:
                if flags & PADDED:
                    raise ValueError("padded data is not understood here")
                self._control = None
                self._unacknowledged += self._left
                self.received += self._left
            else:
                self._control = (kind, flags, not any(head[5:9]))
                self._payload = bytearray()
                if not self._left:
                    self._take_control()

    def _body(self, chunk: memoryview) -> None:
        position, end = 0, len(chunk)
        while position < end:
            if self._message is None:
                more = chunk[position : position + 5 - len(self._prefix)]
                self._prefix += more
                position += len(more)
                if len(self._prefix) < 5:
                    return
                if self._prefix[0]:
                    raise ValueError("a compressed message came, which was not asked for")
                self._message = bytearray(int.from_bytes(self._prefix[1:], "big"))
                self._rest = memoryview(self._message)
                self._prefix.clear()
            take = min(len(self._rest), end - position)
            self._rest[:take] = chunk[position : position + take]
            position += take
            self._advance(take)

    def _advance(self, count: int) -> None:
        """So many bytes of the message came."""
        self._rest = self._rest[count:]
        if not self._rest and self._message is not None:
            message, self._message, self._rest = self._message, None, _view[:0]
            self._on_message(message)

    def _take_control(self) -> None:
        assert self._control is not None
        (kind, flags, whole), payload = self._control, bytes(self._payload)
        if kind == SETTINGS and not flags & ACK:
            for number, value in struct.iter_unpack(">HI", payload):
                if number == 4:
                    self._stream_window += value - self._initial
                    self._initial = value
            self._out += frame(SETTINGS, ACK, 0, b"")
            self._release()
        elif kind == PING and not flags & ACK:
            self._out += frame(PING, ACK, 0, payload)
        elif kind == WINDOW_UPDATE:
            (more,) = struct.unpack(">I", payload)
            if whole:
                self._window += more
            else:
                self._stream_window += more
            self._release()
        elif kind == RST_STREAM:
            self.close(f"the server reset the stream (code {int.from_bytes(payload, 'big')})")
        elif kind == GOAWAY:
            self.close(f"the server said goodbye: {payload[8:].decode(errors='replace')}")
        elif kind == HEADERS and flags & END_STREAM:
            self.close("the server ended the stream: " + "".join(chr(byte) if 31 < byte < 127 else "." for byte in payload))
