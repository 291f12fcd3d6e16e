# SPDX-License-Identifier: Apache-2.0
"""A DestinationRule's policy laid onto a cluster: load balancing, connection pool, outlier detection.

Each part that is absent leaves the mesh's default in force. TLS is decided in `cluster.py`, because it needs to know the service.
"""

from __future__ import annotations

from typing import Final

from envoy.config.cluster.v3 import circuit_breaker_pb2, cluster_pb2
from envoy.extensions.upstreams.http.v3 import http_protocol_options_pb2

from common.config.kinds.mesh import MeshConfig
from common.config.kinds.networking import ConnectionPoolSettings, HTTPSettings, LoadBalancerSettings, OutlierDetection, TcpKeepalive
from pilot.model.destination_rules import PortPolicy
from pilot.model.service import Protocol
from pilot.networking.wire import UINT32_MAX, bounded, optional_seconds, pack, set_seconds

Cluster = cluster_pb2.Cluster

UNLIMITED: Final = UINT32_MAX
MAX_CONCURRENT_STREAMS: Final = 1_073_741_824
DEFAULT_RING_SIZE: Final = 1024
MAX_RING_SIZE: Final = 8_388_608
HTTP_OPTIONS: Final = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"

_SIMPLE: Final = {
    "ROUND_ROBIN": Cluster.ROUND_ROBIN,
    "LEAST_CONN": Cluster.LEAST_REQUEST,
    "RANDOM": Cluster.RANDOM,
    "PASSTHROUGH": Cluster.CLUSTER_PROVIDED,
}


def apply_policy(cluster: Cluster, policy: PortPolicy, mesh: MeshConfig, protocol: Protocol) -> None:
    """Everything but TLS. The cluster's discovery type must be set before: it bounds the load balancing."""
    pool = policy.connection_pool
    apply_connection_pool(cluster, pool, mesh)
    http = pool.http if pool is not None else None
    apply_protocol(cluster, protocol, http, mesh)
    _apply_outlier_detection(cluster, policy.outlier_detection)
    _apply_load_balancer(cluster, policy.load_balancer)


def apply_connection_pool(cluster: Cluster, pool: ConnectionPoolSettings | None, mesh: MeshConfig) -> None:
    """Limits, connect timeout and keep-alive. Limits are off by default: Envoy's own 1024 would surprise."""
    limits = cluster.circuit_breakers.thresholds.add()
    set_unlimited(limits)
    timeout = optional_seconds(mesh.connectTimeout)
    keepalive = mesh.tcpKeepalive
    if pool is not None and (tcp := pool.tcp) is not None:
        if tcp.maxConnections > 0:
            limits.max_connections.value = bounded(tcp.maxConnections)
        timeout = optional_seconds(tcp.connectTimeout) or timeout
        keepalive = tcp.tcpKeepalive or keepalive
    if pool is not None and (http := pool.http) is not None:
        if http.http1MaxPendingRequests > 0:
            limits.max_pending_requests.value = bounded(http.http1MaxPendingRequests)
        if http.http2MaxRequests > 0:
            limits.max_requests.value = bounded(http.http2MaxRequests)
        if http.maxRetries > 0:
            limits.max_retries.value = bounded(http.maxRetries)
    set_seconds(cluster.connect_timeout, timeout or 1.0)
    _apply_keepalive(cluster, keepalive)


def set_unlimited(limits: circuit_breaker_pb2.CircuitBreakers.Thresholds) -> None:
    limits.max_connections.value = UNLIMITED
    limits.max_pending_requests.value = UNLIMITED
    limits.max_requests.value = UNLIMITED
    limits.max_retries.value = UNLIMITED


def _apply_keepalive(cluster: Cluster, keepalive: TcpKeepalive | None) -> None:
    if keepalive is None:
        return
    target = cluster.upstream_connection_options.tcp_keepalive
    target.SetInParent()
    if keepalive.probes > 0:
        target.keepalive_probes.value = bounded(keepalive.probes)
    if time := optional_seconds(keepalive.time):
        target.keepalive_time.value = round(time)
    if interval := optional_seconds(keepalive.interval):
        target.keepalive_interval.value = round(interval)


def apply_protocol(cluster: Cluster, protocol: Protocol, http: HTTPSettings | None, mesh: MeshConfig) -> None:
    """Which HTTP is spoken upstream. Nothing is written where Envoy's default (HTTP/1.1, or no HTTP at all) is meant."""
    idle = optional_seconds(http.idleTimeout) if http is not None else None
    per_connection = http.maxRequestsPerConnection if http is not None else 0
    http2 = protocol.is_http2 or (protocol is Protocol.HTTP and _upgrades(http, mesh))
    if protocol is not Protocol.UNSUPPORTED and not http2 and idle is None and per_connection <= 0:
        return
    options = http_protocol_options_pb2.HttpProtocolOptions()
    if protocol is Protocol.UNSUPPORTED:
        downstream = options.use_downstream_protocol_config
        downstream.http_protocol_options.SetInParent()
        downstream.http2_protocol_options.max_concurrent_streams.value = MAX_CONCURRENT_STREAMS
    elif http2:
        options.explicit_http_config.http2_protocol_options.max_concurrent_streams.value = MAX_CONCURRENT_STREAMS
    else:
        options.explicit_http_config.http_protocol_options.SetInParent()
    if idle is not None:
        set_seconds(options.common_http_protocol_options.idle_timeout, idle)
    if per_connection > 0:
        options.common_http_protocol_options.max_requests_per_connection.value = bounded(per_connection)
    pack(options, cluster.typed_extension_protocol_options[HTTP_OPTIONS])


def _upgrades(http: HTTPSettings | None, mesh: MeshConfig) -> bool:
    """Istio 1.4 declared h2UpgradePolicy and ignored it; here it works as in later releases."""
    policy = http.h2UpgradePolicy if http is not None else "DEFAULT"
    return policy == "UPGRADE" or (policy == "DEFAULT" and mesh.h2UpgradePolicy == "UPGRADE")


def _apply_outlier_detection(cluster: Cluster, detection: OutlierDetection | None) -> None:
    if detection is None:
        return
    target = cluster.outlier_detection
    target.SetInParent()
    if detection.consecutiveErrors > 0:
        target.consecutive_gateway_failure.value = bounded(detection.consecutiveErrors)
        target.enforcing_consecutive_gateway_failure.value = 100
        target.enforcing_consecutive_5xx.value = 0
    if (interval := optional_seconds(detection.interval)) is not None and interval > 0:
        set_seconds(target.interval, interval)
    if (ejection := optional_seconds(detection.baseEjectionTime)) is not None and ejection > 0:
        set_seconds(target.base_ejection_time, ejection)
    if detection.maxEjectionPercent > 0:
        target.max_ejection_percent.value = min(detection.maxEjectionPercent, 100)
    cluster.common_lb_config.healthy_panic_threshold.value = float(min(max(detection.minHealthPercent, 0), 100))
    cluster.common_lb_config.locality_weighted_lb_config.SetInParent()


def _apply_load_balancer(cluster: Cluster, settings: LoadBalancerSettings | None) -> None:
    """ORIGINAL_DST knows one policy only, and PASSTHROUGH means ORIGINAL_DST."""
    if settings is not None and settings.simple == "PASSTHROUGH":
        cluster.type = Cluster.ORIGINAL_DST
        cluster.ClearField("eds_cluster_config")
        cluster.ClearField("load_assignment")
        cluster.ClearField("cluster_type")
        cluster.type = Cluster.ORIGINAL_DST
    if cluster.type == Cluster.ORIGINAL_DST and cluster.WhichOneof("cluster_discovery_type") == "type":
        cluster.lb_policy = Cluster.CLUSTER_PROVIDED
    elif settings is not None and settings.consistentHash is not None:
        cluster.lb_policy = Cluster.RING_HASH
        size = max(settings.consistentHash.minimumRingSize, 0) or DEFAULT_RING_SIZE
        cluster.ring_hash_lb_config.minimum_ring_size.value = min(size, MAX_RING_SIZE)
    elif settings is not None and settings.simple is not None:
        cluster.lb_policy = _SIMPLE[settings.simple]
