# SPDX-License-Identifier: Apache-2.0
"""The network filters that end a filter chain: the HTTP connection manager and the TCP proxy, alike for all listeners.

HTTP filter order is Istio 1.4's with its missing filters replaced: Mixer's check (inbound and gateways), CORS, fault, router. CORS and fault
are always there, because routes switch them.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from envoy.config.listener.v3 import listener_components_pb2
from envoy.extensions.filters.http.cors.v3 import cors_pb2
from envoy.extensions.filters.http.fault.v3 import fault_pb2
from envoy.extensions.filters.http.grpc_web.v3 import grpc_web_pb2
from envoy.extensions.filters.http.router.v3 import router_pb2
from envoy.extensions.filters.listener.http_inspector.v3 import http_inspector_pb2
from envoy.extensions.filters.listener.original_dst.v3 import original_dst_pb2
from envoy.extensions.filters.listener.tls_inspector.v3 import tls_inspector_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2
from envoy.extensions.filters.network.tcp_proxy.v3 import tcp_proxy_pb2
from google.protobuf.message import Message

from common.config.kinds.mesh import MeshConfig
from pilot.model.service import Protocol
from pilot.networking.access_log import Direction, add_http_logs, add_tcp_logs
from pilot.networking.mixerclient import TCP_ACCESS_LOG_OPTIONS, http_filters
from pilot.networking.route_policy import CORS, FAULT
from pilot.networking.wire import pack, set_ads, set_seconds

Manager = http_connection_manager_pb2.HttpConnectionManager
HttpFilter = http_connection_manager_pb2.HttpFilter
FilterChain = listener_components_pb2.FilterChain

SERVER_NAME = "istio-envoy"
_EDGE_HEADERS_SECONDS = 60.0
"""Within which a client at the edge must have sent all headers of a request: a slow one would hold the stream for ever."""
_EDGE_STREAMS = 100
"""That one HTTP/2 connection at the edge may have open."""


@cache
def _http_filter(name: str, message: type[Message]) -> HttpFilter:
    target = HttpFilter(name=name)
    pack(message(), target.typed_config)
    return target


@cache
def _traffic_filters(grpc_web: bool) -> tuple[HttpFilter, ...]:
    return (
        *((_http_filter("envoy.filters.http.grpc_web", grpc_web_pb2.GrpcWeb),) if grpc_web else ()),
        _http_filter(CORS, cors_pb2.Cors),
        _http_filter(FAULT, fault_pb2.HTTPFault),
        _http_filter("envoy.filters.http.router", router_pb2.Router),
    )


@cache
def listener_filter(kind: str) -> listener_components_pb2.ListenerFilter:
    """`tls_inspector`, `http_inspector` or `original_dst`. Do not change the returned message."""
    message: Message = {
        "tls_inspector": tls_inspector_pb2.TlsInspector,
        "http_inspector": http_inspector_pb2.HttpInspector,
        "original_dst": original_dst_pb2.OriginalDst,
    }[kind]()
    target = listener_components_pb2.ListenerFilter(name=f"envoy.filters.listener.{kind}")
    pack(message, target.typed_config)
    return target


def _manager(mesh: MeshConfig, direction: Direction, *, stat_prefix: str, route_config: str) -> Manager:
    manager = Manager(codec_type=Manager.AUTO, stat_prefix=stat_prefix)
    manager.rds.route_config_name = route_config
    set_ads(manager.rds.config_source)
    manager.normalize_path.value = True
    manager.upgrade_configs.add(upgrade_type="websocket")
    set_seconds(manager.stream_idle_timeout, 0.0)
    add_http_logs(manager.access_log, mesh, direction)
    return manager


def outbound_http(chain: FilterChain, mesh: MeshConfig, *, stat_prefix: str, route_config: str) -> None:
    """Towards services: routes decide everything, nothing is checked."""
    manager = _manager(mesh, "outbound", stat_prefix=stat_prefix, route_config=route_config)
    manager.use_remote_address.value = False
    manager.http_filters.extend(_traffic_filters(False))
    _add_manager(chain, manager)


def inbound_http(
    chain: FilterChain, mesh: MeshConfig, protocol: Protocol, *, stat_prefix: str, route_config: str, mutual: bool, holds_script: bool
) -> None:
    """Towards the application: checked, and told who called, but only if a certificate proves it."""
    manager = _manager(mesh, "inbound", stat_prefix=stat_prefix, route_config=route_config)
    manager.use_remote_address.value = False
    manager.server_name = SERVER_NAME
    _normalize(manager)
    _set_client_certificate(manager, mutual)
    if protocol.is_http2:
        manager.http2_protocol_options.SetInParent()
    manager.http_filters.extend(http_filters(holds_script=holds_script))
    manager.http_filters.extend(_traffic_filters(protocol is Protocol.GRPC_WEB))
    _add_manager(chain, manager)


def gateway_http(chain: FilterChain, mesh: MeshConfig, *, stat_prefix: str, route_config: str, holds_script: bool) -> None:
    """The edge: the client's own address counts, and headers that only the mesh may set are taken off."""
    manager = _manager(mesh, "outbound", stat_prefix=stat_prefix, route_config=route_config)
    manager.use_remote_address.value = True
    manager.server_name = SERVER_NAME
    _normalize(manager)
    set_seconds(manager.request_headers_timeout, _EDGE_HEADERS_SECONDS)
    manager.http2_protocol_options.max_concurrent_streams.value = _EDGE_STREAMS
    _set_client_certificate(manager, True)
    manager.http_filters.extend(http_filters(holds_script=holds_script))
    manager.http_filters.extend(_traffic_filters(False))
    _add_manager(chain, manager)


def _normalize(manager: Manager) -> None:
    """Policy must see the path as the application will: `//admin` and `/%2Fadmin` are `/admin` to most of them.

    Istio later called this DECODE_AND_MERGE_SLASHES; Istio 1.4 only resolved dots, and rules on a path's prefix could be walked around.
    """
    manager.merge_slashes = True
    manager.path_with_escaped_slashes_action = Manager.UNESCAPE_AND_FORWARD


def _set_client_certificate(manager: Manager, mutual: bool) -> None:
    """x-forwarded-client-cert says who the peer is; what the peer itself wrote there is thrown away. Istio 1.4 appended to it."""
    if not mutual:
        manager.forward_client_cert_details = Manager.SANITIZE
        return
    manager.forward_client_cert_details = Manager.SANITIZE_SET
    details = manager.set_current_client_cert_details
    details.subject.value = True
    details.dns = True
    details.uri = True


def _add_manager(chain: FilterChain, manager: Manager) -> None:
    target = chain.filters.add(name="envoy.filters.network.http_connection_manager")
    pack(manager, target.typed_config)


def tcp_proxy(
    chain: FilterChain,
    mesh: MeshConfig,
    *,
    clusters: Sequence[tuple[str, int]],
    stat_prefix: str,
    direction: Direction | None,
    logged: bool = True,
) -> None:
    """To one cluster, or to several by weight (at least 1 each). Without a direction Mixer hears nothing of it."""
    proxy = tcp_proxy_pb2.TcpProxy(stat_prefix=stat_prefix)
    if len(clusters) == 1:
        proxy.cluster = clusters[0][0]
    else:
        for name, weight in clusters:
            proxy.weighted_clusters.clusters.add(name=name, weight=weight)
    if logged:
        add_tcp_logs(proxy.access_log, mesh, direction)
        if direction is not None:
            proxy.access_log_options.CopyFrom(TCP_ACCESS_LOG_OPTIONS)
    target = chain.filters.add(name="envoy.filters.network.tcp_proxy")
    pack(proxy, target.typed_config)
