# SPDX-License-Identifier: Apache-2.0
"""A service and its endpoints, whatever registry they came from.

Identity (`ServiceKey`) and content (`digest`) are separate, because a change of endpoints must never look like a change of the service:
endpoints travel by EDS alone.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from common.config.resource import ResourceKey

MAX_PORT: Final = 65535


class Protocol(enum.StrEnum):
    """Application protocol of a port, in Istio's spelling. UNSUPPORTED means: not declared, so let Envoy sniff where that is on."""

    TCP = "TCP"
    UDP = "UDP"
    GRPC = "GRPC"
    GRPC_WEB = "GRPC-Web"
    HTTP = "HTTP"
    HTTP2 = "HTTP2"
    HTTPS = "HTTPS"
    TLS = "TLS"
    MONGO = "Mongo"
    REDIS = "Redis"
    MYSQL = "MySQL"
    UNSUPPORTED = "UnsupportedProtocol"

    @property
    def is_http(self) -> bool:
        """Plaintext HTTP of any version: Envoy may route by its contents."""
        return self in _HTTP

    @property
    def is_http2(self) -> bool:
        return self in _HTTP2

    @property
    def is_tls(self) -> bool:
        """The application encrypts by itself; Envoy sees only the server name."""
        return self in _TLS


_HTTP = frozenset({Protocol.HTTP, Protocol.HTTP2, Protocol.GRPC, Protocol.GRPC_WEB})
_HTTP2 = frozenset({Protocol.HTTP2, Protocol.GRPC, Protocol.GRPC_WEB})
_TLS = frozenset({Protocol.HTTPS, Protocol.TLS})


class Resolution(enum.Enum):
    """How Envoy finds the endpoints of a service."""

    CLIENT_SIDE = "EDS"
    DNS = "STRICT_DNS"
    PASSTHROUGH = "ORIGINAL_DST"


NO_SOURCE = ResourceKey("", "", "")


class ServiceKey(NamedTuple):
    """Identity of a service: the host name may exist once per namespace."""

    namespace: str
    hostname: str


@dataclass(frozen=True, slots=True)
class Port:
    """One port of a service. `target_port` (a number, or the name of a workload's port) is where a workload receives it."""

    name: str
    number: int
    protocol: Protocol
    target_port: int | str = 0

    @property
    def is_routed(self) -> bool:
        """Requests on it may be routed one by one: it is HTTP, or may turn out to be."""
        return self.protocol.is_http or self.protocol is Protocol.UNSUPPORTED


@dataclass(frozen=True, slots=True, eq=False)
class Service:
    """A named destination. Compare by `key` and `digest`."""

    key: ServiceKey
    name: str
    """Short name: what `destination.service.name` reports and what policies target."""
    ports: tuple[Port, ...]
    resolution: Resolution
    addresses: tuple[str, ...] = ()
    """Virtual addresses or CIDR blocks; empty when it has none."""
    mesh_external: bool = False
    private: bool = False
    """Exported to its own namespace only."""
    headless: bool = False
    selector: Mapping[str, str] = field(default_factory=dict)
    """Labels of the workloads that serve it; empty when its endpoints are listed."""
    declared_accounts: tuple[str, ...] = ()
    """SPIFFE ids that configuration itself names for it (subjectAltNames of a ServiceEntry)."""
    created: str = ""
    source: ResourceKey = NO_SOURCE
    digest: bytes = b""
    """Hash of the configuration it was made from; endpoints have no part in it."""

    @property
    def hostname(self) -> str:
        return self.key.hostname

    @property
    def namespace(self) -> str:
        return self.key.namespace

    def port(self, number: int) -> Port | None:
        """The port with this number that Envoy can proxy (never UDP)."""
        for port in self.ports:
            if port.number == number and port.protocol is not Protocol.UDP:
                return port
        return None


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One place where a service can be reached. `ports` maps the service's port number to the endpoint's."""

    address: str
    ports: Mapping[int, int]
    labels: Mapping[str, str] = field(default_factory=dict)
    locality: str = ""
    """`region/zone/subzone`"""
    network: str = ""
    weight: int = 1
    namespace: str = ""
    account: str = ""
    """SPIFFE id, empty when unknown."""
    has_sidecar: bool = False
    """Its traffic enters by our proxy, so it understands mutual TLS (unless a policy there says DISABLE)."""
    workload: str = ""
    source: ResourceKey = NO_SOURCE

    @property
    def is_unix(self) -> bool:
        return self.address.startswith("unix://")


@dataclass(frozen=True, slots=True, eq=False)
class EndpointSet:
    """All endpoints of one service, with the hash that EDS fingerprints use."""

    endpoints: tuple[Endpoint, ...]
    accounts: tuple[str, ...]
    """Sorted SPIFFE ids of the endpoints: what a client may meet there."""
    digest: bytes


NO_ENDPOINTS = EndpointSet((), (), b"")
