# SPDX-License-Identifier: Apache-2.0
"""One simulated proxy: it asks as Envoy does (clusters, their endpoints, listeners, their routes, and virtual hosts where routes have them
discovered), acknowledges at once, and follows names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol

from envoy.config.core.v3.base_pb2 import Node

from tests.benchmarks.xds_clients.messages import (
    CLUSTER,
    ENDPOINT,
    LISTENER,
    ROUTE,
    VIRTUAL_HOST,
    Contents,
    Envelope,
    delta_answer,
    delta_subscription,
    names_field,
    sotw_request,
)

REFERS = {CLUSTER: ENDPOINT, LISTENER: ROUTE, ROUTE: VIRTUAL_HOST}
NOBODY: frozenset[str] = frozenset()


class Wire(Protocol):
    def send(self, message: bytes) -> None: ...


class Names(NamedTuple):
    """A set of names with its bytes, shared by all clients that have the same."""

    names: frozenset[str]
    section: bytes


class NamePool:
    def __init__(self) -> None:
        self._known: dict[frozenset[str], Names] = {}

    def get(self, names: frozenset[str]) -> Names:
        known = self._known.get(names)
        if known is None:
            known = self._known[names] = Names(names, names_field(names))
        return known


class Client:
    """The protocol side of one proxy. `answered(type_url, message)` is called after each acknowledgement."""

    def __init__(
        self, node: Node, variant: str, pool: NamePool, answered: Callable[[Client, str, bytearray], None], *, virtual_hosts: bool
    ) -> None:
        self.node, self._delta, self._pool, self._answered = node, variant == "delta", pool, answered
        self._discovers = virtual_hosts and self._delta
        self.responses: dict[str, int] = {}
        self.awaited: set[str] = set()
        """Types of which an expected response has not come yet."""
        self.synced = False
        self.nonce = ""
        """Of the newest response."""
        self.held: dict[str, bytes] = {}
        """By type: the account of what it holds that it gives when it connects again."""
        self._subscribed: dict[str, Names] = {}
        self._referred: dict[str, Mapping[str, tuple[str, ...]]] = {}
        self._version: dict[str, str] = {}
        self._nonce: dict[str, str] = {}
        self._wire: Wire | None = None

    def opened(self, wire: Wire) -> None:
        self._wire = wire
        if self.held:
            self._resume()
        else:
            self._subscribe(CLUSTER, node=self.node)

    def _resume(self) -> None:
        """Like an Envoy that lost its stream: all subscriptions at once, with what it holds."""
        for number, (type_url, names) in enumerate(self._subscribed.items()):
            self._send(delta_subscription(type_url, names.section, node=None if number else self.node, held=self.held.get(type_url, b"")))

    def _send(self, message: bytes) -> None:
        assert self._wire is not None
        self._wire.send(message)

    def _subscribe(self, type_url: str, names: frozenset[str] = NOBODY, *, node: Node | None = None) -> None:
        before = self._subscribed.get(type_url)
        wanted = self._subscribed[type_url] = self._pool.get(names)
        if not self._delta:
            version, nonce = self._version.get(type_url, ""), self._nonce.get(type_url, "")
            self._send(sotw_request(type_url, wanted.section, version=version, nonce=nonce, node=node))
        elif before is None:
            self._send(delta_subscription(type_url, wanted.section, node=node))
        else:
            self._send(delta_subscription(type_url, names_field(names - before.names), removed=before.names - names))

    def receive(self, message: bytearray) -> str:
        """Acknowledge; returns the type."""
        envelope = Envelope.FromString(message)
        type_url: str = envelope.type_url
        self.nonce = envelope.nonce
        if self._delta:
            self._send(delta_answer(type_url, envelope.nonce))
        else:
            self._version[type_url], self._nonce[type_url] = envelope.version, envelope.nonce
            subscribed = self._subscribed.get(type_url)
            section = subscribed.section if subscribed is not None else b""
            self._send(sotw_request(type_url, section, version=envelope.version, nonce=envelope.nonce))
        self.responses[type_url] = self.responses.get(type_url, 0) + 1
        if not self.synced:
            self._go_on(type_url)
        self._answered(self, type_url, message)
        return type_url

    def _go_on(self, type_url: str) -> None:
        """Envoy asks for listeners when its clusters have endpoints, and is ready when its listeners have routes."""
        if type_url == ENDPOINT and LISTENER not in self._subscribed:
            self._subscribe(LISTENER)
        elif type_url == (VIRTUAL_HOST if self._discovers else ROUTE):
            self.synced = True

    def refers(self, type_url: str) -> bool:
        """Whether its resources may refer to others that this client would ask for."""
        return type_url in REFERS and (type_url != ROUTE or self._discovers)

    def follow(self, type_url: str, contents: Contents) -> None:
        """Subscribe to what the new clusters, listeners or routes refer to."""
        known = self._referred.get(type_url)
        if self._delta and known is not None:
            if not contents.removed and all(known.get(name) == names for name, names in contents.references.items()):
                return
            merged = {**known, **contents.references}
            for name in contents.removed:
                merged.pop(name, None)
        else:
            merged = contents.references
        self._referred[type_url] = merged
        names = frozenset(name for found in merged.values() for name in found)
        target = REFERS[type_url]
        if target == VIRTUAL_HOST and names:  # a wildcard, said once
            if target not in self._subscribed:
                self._subscribe(target)
        elif target in self._subscribed:
            if names != self._subscribed[target].names:
                self._subscribe(target, names)
        elif names:
            self._subscribe(target, names)
        else:
            self._go_on(target)
