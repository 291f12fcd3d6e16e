# SPDX-License-Identifier: Apache-2.0
"""What a DestinationRule must keep to, over its schema."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from common.config.kinds.destination_rule import (
    ConnectionPoolSettings,
    DestinationRule,
    LoadBalancerSettings,
    OutlierDetection,
    PortTrafficPolicy,
    TLSSettings,
    TrafficPolicy,
)
from common.config.problem import Path, Problem, problem
from galley.validation.primitives import (
    at_least,
    dns_label,
    duration,
    each,
    export_to,
    header_name,
    labels,
    percent,
    port_number,
    unique,
    wildcard_domain,
)

_MAX_RING_SIZE: Final = 8_388_608  # Envoy's own bound
_PARTS: Final = ("outlierDetection", "connectionPool", "loadBalancer", "tls")


def destination_rule(spec: DestinationRule, at: Path) -> Iterator[Problem]:
    if spec.host:
        yield from wildcard_domain(spec.host, (*at, "host"))
    else:
        yield problem((*at, "host"), "host is missing: name the service that this rule is about")
    yield from _traffic_policy(spec.trafficPolicy, (*at, "trafficPolicy"))
    for subset, place in each(spec.subsets, (*at, "subsets")):
        yield from dns_label(subset.name, (*place, "name"))
        yield from labels(subset.labels, (*place, "labels"))
        yield from _traffic_policy(subset.trafficPolicy, (*place, "trafficPolicy"))
    yield from unique(((subset.name, (*place, "name")) for subset, place in each(spec.subsets, (*at, "subsets"))), "subset")
    yield from export_to(spec.exportTo, (*at, "exportTo"))


def _traffic_policy(policy: TrafficPolicy | None, at: Path) -> Iterator[Problem]:
    if policy is None:
        return
    if not policy.portLevelSettings:
        yield from _not_empty(policy, at)
    yield from _parts(policy, at)
    for setting, place in each(policy.portLevelSettings, (*at, "portLevelSettings")):
        yield from port_number(setting.port.number, (*place, "port", "number"))
        yield from _not_empty(setting, place)
        yield from _parts(setting, place)
    ports = ((setting.port.number, (*place, "port")) for setting, place in each(policy.portLevelSettings, (*at, "portLevelSettings")))
    yield from unique(ports, "port")


def _not_empty(policy: TrafficPolicy | PortTrafficPolicy, at: Path) -> Iterator[Problem]:
    if all(getattr(policy, part) is None for part in _PARTS):
        yield problem(at, f"a traffic policy needs at least one of {', '.join(_PARTS)}")


def _parts(policy: TrafficPolicy | PortTrafficPolicy, at: Path) -> Iterator[Problem]:
    if policy.outlierDetection is not None:
        yield from _outlier_detection(policy.outlierDetection, (*at, "outlierDetection"))
    if policy.connectionPool is not None:
        yield from _connection_pool(policy.connectionPool, (*at, "connectionPool"))
    if policy.loadBalancer is not None:
        yield from _load_balancer(policy.loadBalancer, (*at, "loadBalancer"))
    if policy.tls is not None:
        yield from _tls(policy.tls, (*at, "tls"))


def _outlier_detection(outlier: OutlierDetection, at: Path) -> Iterator[Problem]:
    yield from at_least(outlier.consecutiveErrors, 0, (*at, "consecutiveErrors"))
    for field in ("interval", "baseEjectionTime"):
        yield from duration(getattr(outlier, field), (*at, field))
    for field in ("maxEjectionPercent", "minHealthPercent"):
        yield from percent(getattr(outlier, field), (*at, field))


def _connection_pool(pool: ConnectionPoolSettings, at: Path) -> Iterator[Problem]:
    if pool.tcp is None and pool.http is None:
        yield problem(at, "a connection pool needs tcp or http settings")
    if pool.http is not None:
        for field in ("http1MaxPendingRequests", "http2MaxRequests", "maxRequestsPerConnection", "maxRetries"):
            yield from at_least(getattr(pool.http, field), 0, (*at, "http", field))
        yield from duration(pool.http.idleTimeout, (*at, "http", "idleTimeout"))
    if pool.tcp is not None:
        yield from at_least(pool.tcp.maxConnections, 0, (*at, "tcp", "maxConnections"))
        yield from duration(pool.tcp.connectTimeout, (*at, "tcp", "connectTimeout"))
        if (keepalive := pool.tcp.tcpKeepalive) is not None:
            yield from at_least(keepalive.probes, 0, (*at, "tcp", "tcpKeepalive", "probes"))
            yield from duration(keepalive.time, (*at, "tcp", "tcpKeepalive", "time"))
            yield from duration(keepalive.interval, (*at, "tcp", "tcpKeepalive", "interval"))


def _load_balancer(settings: LoadBalancerSettings, at: Path) -> Iterator[Problem]:
    if (consistent := settings.consistentHash) is None:
        return
    place = (*at, "consistentHash")
    if consistent.httpHeaderName is None and consistent.httpCookie is None and consistent.useSourceIp is None:
        yield problem(place, "a consistent hash needs one of httpHeaderName, httpCookie, useSourceIp")
    if consistent.httpHeaderName is not None:
        yield from header_name(consistent.httpHeaderName, (*place, "httpHeaderName"))
    if (cookie := consistent.httpCookie) is not None:
        if not cookie.name:
            yield problem((*place, "httpCookie"), "the cookie needs a name")
        if cookie.ttl is None:
            yield problem((*place, "httpCookie"), "the cookie needs a ttl; 0s makes a session cookie")
        elif cookie.ttl not in ("0s", "0"):
            yield from duration(cookie.ttl, (*place, "httpCookie", "ttl"))
    if not 0 <= consistent.minimumRingSize <= _MAX_RING_SIZE:
        yield problem((*place, "minimumRingSize"), f"{consistent.minimumRingSize} is out of range", expected=f"0 to {_MAX_RING_SIZE}")


def _tls(tls: TLSSettings, at: Path) -> Iterator[Problem]:
    files = ("clientCertificate", "privateKey", "caCertificates")
    if tls.mode == "MUTUAL":
        for field in files[:2]:
            if not getattr(tls, field):
                yield problem((*at, field), f"mode MUTUAL needs {field}: a file at the client's sidecar")
    if tls.mode in ("SIMPLE", "MUTUAL") and tls.subjectAltNames and not tls.caCertificates:
        yield problem((*at, "subjectAltNames"), "subjectAltNames can only be checked with caCertificates: a file at the client's sidecar")
    if tls.mode == "ISTIO_MUTUAL":
        for field in files:
            if getattr(tls, field):
                yield problem((*at, field), f"mode ISTIO_MUTUAL takes its certificates from Citadel; remove {field}")
