# SPDX-License-Identifier: Apache-2.0
"""All simulated proxies in one epoll loop. The caller says what it waits for and runs the loop until everybody has acknowledged it."""

from __future__ import annotations

import select
import ssl
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from envoy.config.core.v3.base_pb2 import Node

from tests.benchmarks.xds_clients.client import Client, NamePool
from tests.benchmarks.xds_clients.http2 import Connection
from tests.benchmarks.xds_clients.messages import ENDPOINT, METHOD, Reader, held_field

LATER = 64
"""Responses whose references may wait while others are read."""

Test = Callable[[bytearray], bool]


class Identity(NamedTuple):
    """A proxy: its node, and its TLS context if it has one."""

    node: Node
    tls: ssl.SSLContext | None = None


class Expectation(NamedTuple):
    """What `Swarm.run` found: seconds of the monotonic clock at which the last client had answered, and how many had not."""

    finished: float
    missing: int


class History:
    """What each client was told about endpoints, in order. A response is known by its nonce and length: all who got the same share it."""

    def __init__(self) -> None:
        self.messages: dict[tuple[str, int], bytes] = {}
        self.told: dict[Client, list[tuple[str, int]]] = {}

    def add(self, client: Client, message: bytearray) -> None:
        key = (client.nonce, len(message))
        if key not in self.messages:
            self.messages[key] = bytes(message)
        self.told.setdefault(client, []).append(key)


class Swarm:
    """Use as a context manager: it closes its connections."""

    def __init__(
        self, address: tuple[str, int], *, variant: str = "delta", virtual_hosts: bool = False, server_name: str = "localhost"
    ) -> None:
        """`virtual_hosts`: whether clients discover the virtual hosts of routes that say so (delta only); else they ignore that, as grpc does."""
        self._address, self._variant, self._virtual_hosts, self._server_name = address, variant, virtual_hosts, server_name
        self.clients: list[Client] = []
        self.closed: Counter[str] = Counter()
        self.responses: Counter[str] = Counter()
        self.samples: dict[str, bytes] = {}
        """The newest response of each type to the first client."""
        self.history: History | None = None
        """Set one to have the endpoint responses written down."""
        self.remembers = False
        """Whether clients keep account of what they hold, to say so when they connect again (delta; not kept up to date by later changes)."""
        self.last = 0.0
        """When the last acknowledgement that counts was sent."""
        self._connections: dict[int, Connection] = {}
        self._registered: dict[int, int] = {}
        self._poll = select.epoll()
        self._accounts: dict[bytes, bytes] = {}
        self._identities: dict[Client, Identity] = {}
        self._pool, self._reader = NamePool(), Reader(variant)
        self._later: deque[tuple[Client, str, bytearray]] = deque()
        self._tests: Mapping[str, Test] = {}
        self._waiting = 0
        self._unsynced = 0

    def __enter__(self) -> Swarm:
        return self

    def __exit__(self, *_: object) -> None:
        self.disconnect()
        self._poll.close()

    def disconnect(self) -> None:
        """Close all connections, without a word, as a machine does that loses its network."""
        self._close_all()
        self.clients.clear()
        self._identities.clear()
        self._waiting = self._unsynced = 0

    def _close_all(self) -> None:
        for connection in tuple(self._connections.values()):
            connection.close("we left")
        self._connections.clear()
        self._registered.clear()
        self._later.clear()
        self.closed.clear()

    @property
    def received(self) -> int:
        """Bytes of data that came."""
        return sum(connection.received for connection in self._connections.values())

    def connect(self, identities: Iterable[Identity]) -> None:
        """Begin to connect all of them at once."""
        for identity in identities:
            client = Client(identity.node, self._variant, self._pool, self._answered, virtual_hosts=self._virtual_hosts)
            self.clients.append(client)
            self._identities[client] = identity
            self._unsynced += 1
            self._open(client, identity.tls)

    def reconnect(self) -> None:
        """All clients lose their connections and begin to connect again at once."""
        self.remembers = False
        self._close_all()
        for client in self.clients:
            self._open(client, self._identities[client].tls)

    def _open(self, client: Client, tls: ssl.SSLContext | None) -> None:
        connection = Connection(
            self._address,
            METHOD[self._variant],
            tls=tls,
            server_name=self._server_name,
            on_open=lambda: client.opened(connection),
            on_message=lambda message: self._receive(client, message),
            on_close=lambda reason: self.closed.update([reason]),
        )
        self._connections[connection.fd] = connection
        self._registered[connection.fd] = connection.events
        self._poll.register(connection.fd, connection.events)

    def _receive(self, client: Client, message: bytearray) -> None:
        before = client.synced
        type_url = client.receive(message)
        if client.synced and not before:
            self._unsynced -= 1
            self.last = time.monotonic()
        self.responses[type_url] += 1
        if client is self.clients[0]:
            self.samples[type_url] = bytes(message)
        if self.history is not None and type_url == ENDPOINT:
            self.history.add(client, message)
        if self.remembers:
            account = held_field(bytes(message))
            client.held[type_url] = self._accounts.setdefault(account, account)
        if client.refers(type_url):
            if before:
                self._later.append((client, type_url, message))
            else:
                client.follow(type_url, self._reader.read(type_url, message))
                if client.synced and not before:
                    self._unsynced -= 1
                    self.last = time.monotonic()

    def _answered(self, client: Client, type_url: str, message: bytearray) -> None:
        if type_url in client.awaited and self._tests[type_url](message):
            client.awaited.discard(type_url)
            if not client.awaited:
                self._waiting -= 1
                self.last = time.monotonic()

    # -- running --------------------------------------------------------------------------------------------------------------------

    def until_synced(self, seconds: float) -> Expectation:
        """Run until every client has its first full configuration."""
        return self._until(lambda: self._unsynced, seconds)

    def expect(self, tests: Mapping[str, Test]) -> None:
        """From now on wait for a response of each of these types that passes its test, at every client."""
        self._tests = tests
        self._waiting = len(self.clients)
        for client in self.clients:
            client.awaited = set(tests)

    def until_met(self, seconds: float) -> Expectation:
        return self._until(lambda: self._waiting, seconds)

    def idle(self, seconds: float) -> None:
        """Keep answering for a while."""
        self._until(lambda: 1, seconds)

    def _until(self, left: Callable[[], int], seconds: float) -> Expectation:
        deadline = time.monotonic() + seconds
        while left() and (now := time.monotonic()) < deadline and (self._connections or not self.clients):
            self._turn(min(0.05, deadline - now))
        return Expectation(self.last, left())

    def _turn(self, seconds: float) -> None:
        more = [connection for connection in self._connections.values() if connection.has_more]
        events = self._poll.poll(0 if more or self._later else seconds, 256)
        for fd, bits in events:
            self._serve(self._connections.get(fd), fd, bits)
        for connection in more:
            self._serve(connection, connection.fd, select.EPOLLIN)
        while self._later and (not events or len(self._later) > LATER):
            client, type_url, message = self._later.popleft()
            client.follow(type_url, self._reader.read(type_url, message))
            if events:
                break

    def _serve(self, connection: Connection | None, fd: int, bits: int) -> None:
        if connection is None:
            return
        connection.ready(bits)
        if connection.closed:
            self._connections.pop(fd, None)
            self._registered.pop(fd, None)
        elif connection.events != self._registered.get(fd):
            self._registered[fd] = connection.events
            self._poll.modify(fd, connection.events)
