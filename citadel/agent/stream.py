# SPDX-License-Identifier: Apache-2.0
"""One SDS stream as a state machine: requests and secrets go in, what to send comes out. No I/O.

Two variants speak to Envoy's two: state of the world, and delta. Both answer a first request at once with every secret that exists, say
nothing about one that does not (Envoy waits for it, and gets it the moment it appears), have one response under way at a time, and after
a refusal stay silent until something changes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Generic, NamedTuple, TypeVar

from envoy.service.discovery.v3.discovery_pb2 import (
    DeltaDiscoveryRequest,
    DeltaDiscoveryResponse,
    DiscoveryRequest,
    DiscoveryResponse,
)

from citadel.agent.secrets import Versioned
from common.mesh.names import TYPE_SECRET

Request = TypeVar("Request", DiscoveryRequest, DeltaDiscoveryRequest)
Response = TypeVar("Response", DiscoveryResponse, DeltaDiscoveryResponse)
Secrets = Mapping[str, Versioned]


class Refusal(NamedTuple):
    """Envoy did not take the last response."""

    names: tuple[str, ...]
    message: str


class _Stream(ABC, Generic[Request, Response]):
    """What both variants share: who asked, what was sent, what is under way."""

    def __init__(self, secrets: Secrets) -> None:
        self._secrets = secrets
        self._names: set[str] = set()
        self._sent: dict[str, str] = {}
        """Name -> version last sent."""
        self._under_way = ""
        """Nonce of the response that Envoy has not answered yet; empty when there is none."""
        self._count = 0
        self.node_id = ""
        self.refusal: Refusal | None = None
        """Set by a request that refuses; cleared by one that accepts."""

    @property
    def names(self) -> frozenset[str]:
        return frozenset(self._names)

    def changed(self, secrets: Secrets) -> Response | None:
        """There are new secrets: what to send now, if anything."""
        self._secrets = secrets
        return self._next()

    def _settle(self, request: Request) -> bool:
        """Take note of an ACK or NACK. False for an answer to a response that is not the last one."""
        if request.node.id:
            self.node_id = request.node.id
        if request.response_nonce:
            if request.response_nonce != self._under_way:
                return False
            self._under_way = ""
            refused = request.HasField("error_detail")
            self.refusal = Refusal(tuple(sorted(self._sent)), request.error_detail.message) if refused else None
        return True

    def _due(self) -> list[str]:
        """Subscribed secrets that exist in another version than was sent."""
        return [n for n in sorted(self._names) if n in self._secrets and self._sent.get(n) != self._secrets[n].version]

    def _nonce(self) -> str:
        self._count += 1
        self._under_way = str(self._count)
        return self._under_way

    @abstractmethod
    def _next(self) -> Response | None:
        """What to send now, if anything."""


class StateOfTheWorld(_Stream[DiscoveryRequest, DiscoveryResponse]):
    """StreamSecrets: each request repeats all names, each response holds all secrets."""

    def received(self, request: DiscoveryRequest) -> DiscoveryResponse | None:
        """Envoy's request, acknowledgement or refusal: what to send now, if anything."""
        if not self._settle(request):
            return None
        names = set(request.resource_names)
        for name in names - self._names:
            self._sent.pop(name, None)  # asked for anew: wants an answer even if it had this version once
        self._names = names
        return self._next()

    def _next(self) -> DiscoveryResponse | None:
        if self._under_way or not self._due():
            return None
        present = [name for name in sorted(self._names) if name in self._secrets]
        self._sent = {name: self._secrets[name].version for name in present}
        response = DiscoveryResponse(version_info=".".join(self._sent.values()), type_url=TYPE_SECRET, nonce=self._nonce())
        for name in present:
            response.resources.add().Pack(self._secrets[name].secret)
        return response


class Delta(_Stream[DeltaDiscoveryRequest, DeltaDiscoveryResponse]):
    """DeltaSecrets: names are added and taken away, a response holds only what changed."""

    def received(self, request: DeltaDiscoveryRequest) -> DeltaDiscoveryResponse | None:
        """Envoy's request, acknowledgement or refusal: what to send now, if anything."""
        current = self._settle(request)
        for name in request.resource_names_subscribe:
            self._names.add(name)
            self._sent.pop(name, None)
        for name in request.resource_names_unsubscribe:
            self._names.discard(name)
            self._sent.pop(name, None)
        for name, version in request.initial_resource_versions.items():
            if name in self._names:
                self._sent[name] = version  # a reconnecting Envoy still holds this one
        return self._next() if current or request.resource_names_subscribe else None

    def _next(self) -> DeltaDiscoveryResponse | None:
        due = self._due()
        if self._under_way or not due:
            return None
        response = DeltaDiscoveryResponse(type_url=TYPE_SECRET, nonce=self._nonce())
        for name in due:
            version, secret = self._secrets[name]
            self._sent[name] = version
            resource = response.resources.add(name=name, version=version)
            resource.resource.Pack(secret)
        return response
