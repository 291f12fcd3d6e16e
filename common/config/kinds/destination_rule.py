# SPDX-License-Identifier: Apache-2.0
"""DestinationRule: what happens after routing - subsets, load balancing, pools, outlier detection, TLS to the service."""

from __future__ import annotations

from typing import ClassVar, Literal

from common.config.kinds.message import Duration, Message, PortSelector

SimpleLoadBalancer = Literal["ROUND_ROBIN", "LEAST_CONN", "RANDOM", "PASSTHROUGH"]
H2UpgradePolicy = Literal["DEFAULT", "DO_NOT_UPGRADE", "UPGRADE"]
ClientTLSMode = Literal["DISABLE", "SIMPLE", "MUTUAL", "ISTIO_MUTUAL"]


class HTTPCookie(Message, frozen=True, kw_only=True):
    name: str = ""
    path: str = ""
    ttl: Duration | None = None


class ConsistentHash(Message, frozen=True, kw_only=True):
    ONEOFS: ClassVar = (("httpHeaderName", "httpCookie", "useSourceIp"),)

    httpHeaderName: str | None = None
    httpCookie: HTTPCookie | None = None
    useSourceIp: bool | None = None
    minimumRingSize: int = 0


class LoadBalancerSettings(Message, frozen=True, kw_only=True):
    """With neither field set it is ROUND_ROBIN."""

    ONEOFS: ClassVar = (("simple", "consistentHash"),)

    simple: SimpleLoadBalancer | None = None
    consistentHash: ConsistentHash | None = None


class TcpKeepalive(Message, frozen=True, kw_only=True):
    probes: int = 0
    time: Duration | None = None
    interval: Duration | None = None


class TCPSettings(Message, frozen=True, kw_only=True):
    maxConnections: int = 0
    connectTimeout: Duration | None = None
    tcpKeepalive: TcpKeepalive | None = None


class HTTPSettings(Message, frozen=True, kw_only=True):
    http1MaxPendingRequests: int = 0
    http2MaxRequests: int = 0
    maxRequestsPerConnection: int = 0
    maxRetries: int = 0
    idleTimeout: Duration | None = None
    h2UpgradePolicy: H2UpgradePolicy = "DEFAULT"


class ConnectionPoolSettings(Message, frozen=True, kw_only=True):
    tcp: TCPSettings | None = None
    http: HTTPSettings | None = None


class OutlierDetection(Message, frozen=True, kw_only=True):
    """`consecutiveErrors: 0` leaves Envoy's own default (5 consecutive 5xx) in force."""

    consecutiveErrors: int = 0
    interval: Duration | None = None
    baseEjectionTime: Duration | None = None
    maxEjectionPercent: int = 0
    minHealthPercent: int = 0


class TLSSettings(Message, frozen=True, kw_only=True):
    """How a client reaches the service. Paths are files at the client's sidecar."""

    mode: ClientTLSMode = "DISABLE"
    clientCertificate: str = ""
    privateKey: str = ""
    caCertificates: str = ""
    subjectAltNames: tuple[str, ...] = ()
    sni: str = ""


class PortTrafficPolicy(Message, frozen=True, kw_only=True):
    """Replaces (never merges with) all four parts of the enclosing policy for one port."""

    port: PortSelector
    loadBalancer: LoadBalancerSettings | None = None
    connectionPool: ConnectionPoolSettings | None = None
    outlierDetection: OutlierDetection | None = None
    tls: TLSSettings | None = None


class TrafficPolicy(Message, frozen=True, kw_only=True):
    loadBalancer: LoadBalancerSettings | None = None
    connectionPool: ConnectionPoolSettings | None = None
    outlierDetection: OutlierDetection | None = None
    tls: TLSSettings | None = None
    portLevelSettings: tuple[PortTrafficPolicy, ...] = ()


class Subset(Message, frozen=True, kw_only=True):
    """A named part of the service's endpoints: those with all of `labels`."""

    name: str
    labels: dict[str, str] = {}
    trafficPolicy: TrafficPolicy | None = None


class DestinationRule(Message, frozen=True, kw_only=True):
    host: str = ""
    trafficPolicy: TrafficPolicy | None = None
    subsets: tuple[Subset, ...] = ()
    exportTo: tuple[str, ...] = ()
