# SPDX-License-Identifier: Apache-2.0
"""Envoy's bootstrap and environment: who the proxy is, and the little it must know before Pilot can tell it anything.

The clusters to the control plane are EDS from files, so that a proxy follows a switch between split and merged, or another replica,
without a restart and without Pilot knowing addresses. Their certificates come from the node agent; each checks the server's SPIFFE id.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from common.checkprotocol.attributes import PROXY_UID_VARIABLE, workload_uid
from common.checkprotocol.script import CHECK_SCRIPT_VARIABLE, check_script, check_script_digest
from common.identity.spiffe import SpiffeId
from common.lifecycle.http import split_address
from common.mesh import names
from common.mesh.node import NodeId, NodeMetadata
from pilot.agent.settings import ProxySettings

Json = dict[str, Any]

SOCKET_PATH_LIMIT = 107  # bytes, from the kernel's sockaddr_un
_HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_MANY = 100_000  # as Istio 1.4 has it for xds-grpc: the circuit breaker shall never stand between a proxy and its control plane

# Statistics that are kept. Envoy has about 130 for each cluster; with tens of Envoys on a machine the rest would be most of their memory.
_STATS_PREFIXES = (
    "cluster_manager",
    "listener_manager",
    "listener.",
    "server",
    "control_plane",
    f"cluster.{names.XDS_CLUSTER}",
    f"cluster.{names.CHECK_CLUSTER}",
    f"cluster.{names.REPORT_CLUSTER}",
    "access_logs",
)
_STATS_CONTAINED = (
    "upstream_rq_",
    "upstream_cx_total",
    "upstream_cx_active",
    "upstream_cx_overflow",
    "upstream_cx_connect_fail",
    "membership_",
    "outlier_detection",
    "circuit_breakers",
    ".ssl.",
    "ssl_context_update_by_sds",
    "downstream_rq_",
    "downstream_cx_",
    "fault.",
    "lua.",
    "rbac",
    "ext_authz",
)


def bootstrap(settings: ProxySettings, identity: SpiffeId, node_type: str, *, sds_socket: Path, endpoint_files: Mapping[str, Path]) -> Json:
    """The bootstrap as JSON. `endpoint_files` names the endpoint file of each control-plane cluster."""
    for socket in (settings.admin_socket, sds_socket):
        if len(str(socket)) > SOCKET_PATH_LIMIT:
            raise ValueError(f"{socket}: a Unix socket's path has at most {SOCKET_PATH_LIMIT} bytes; choose a shorter state directory")
    clusters = [
        _control_plane(names.XDS_CLUSTER, "pilot", identity, endpoint_files, http2=True),
        _control_plane(names.CHECK_CLUSTER, "mixer", identity, endpoint_files, http2=False),
        _control_plane(names.REPORT_CLUSTER, "mixer", identity, endpoint_files, http2=True),
        _pipe(names.SDS_CLUSTER, sds_socket, http2=True),
        _pipe("prometheus_stats", settings.admin_socket, http2=False),
    ]
    return {
        "node": _node(settings, identity, node_type),
        "admin": {"address": {"pipe": {"path": str(settings.admin_socket), "mode": 0o600}}},
        "stats_config": {"stats_matcher": {"inclusion_list": {"patterns": _stats_patterns(settings)}}},
        "layered_runtime": {"layers": [{"name": "static", "static_layer": {"re2.max_program_size.error_level": 32768}}]},
        "overload_manager": _overload(settings),
        "dynamic_resources": _dynamic_resources(settings),
        "static_resources": {
            "clusters": clusters,
            "listeners": [_stats_listener(settings.stats_address)] if settings.stats_address else [],
        },
    }


def environment(settings: ProxySettings, identity: SpiffeId) -> dict[str, str]:
    """Variables for Envoy: what resources that many proxies share refer to. The node's metadata says which check script there is."""
    return {PROXY_UID_VARIABLE: workload_uid(settings.name, identity.namespace), CHECK_SCRIPT_VARIABLE: check_script()}


def sds_config() -> Json:
    """Where secrets come from. Pilot's resources name it in the same words, so that Envoy asks once for each secret."""
    grpc = {
        "api_type": "GRPC",
        "transport_api_version": "V3",
        "set_node_on_first_message_only": True,
        "grpc_services": [{"envoy_grpc": {"cluster_name": names.SDS_CLUSTER}}],
    }
    return {"api_config_source": grpc, "resource_api_version": "V3", "initial_fetch_timeout": "0s"}


def _node(settings: ProxySettings, identity: SpiffeId, node_type: str) -> Json:
    workload = settings.workload_name or settings.name
    node_id = NodeId(
        type="router" if node_type == "router" else "sidecar", ip=settings.ip, name=settings.name, namespace=identity.namespace
    )
    metadata = NodeMetadata(
        NAMESPACE=identity.namespace,
        SERVICE_ACCOUNT=identity.service_account,
        WORKLOAD_NAME=workload,
        LABELS=settings.labels,
        INSTANCE_IPS=settings.ip,
        INTERCEPTION_MODE=settings.interception_mode,
        OUTBOUND_BIND_ADDRESS=settings.outbound_bind_address,
        APPLICATION_ADDRESS=settings.application_address,
        VIRTUAL_HOST_DISCOVERY="ADS" if settings.xds_protocol == "delta" else "",
        CHECK_SCRIPT=check_script_digest(),
    )
    app = settings.labels.get("app", workload)
    node: Json = {"id": str(node_id), "cluster": f"{app}.{identity.namespace}", "metadata": msgspec.to_builtins(metadata)}
    if settings.locality:
        region, zone, subzone = (*settings.locality.split("/"), "", "")[:3]
        node["locality"] = {key: value for key, value in (("region", region), ("zone", zone), ("sub_zone", subzone)) if value}
    return node


def _dynamic_resources(settings: ProxySettings) -> Json:
    # 0s: wait for Pilot for ever. With Envoy's default a proxy without a control plane becomes LIVE after 30 s, with nothing configured.
    source = {"ads": {}, "resource_api_version": "V3", "initial_fetch_timeout": "0s"}
    return {
        "lds_config": source,
        "cds_config": source,
        "ads_config": {
            "api_type": "DELTA_GRPC" if settings.xds_protocol == "delta" else "GRPC",
            "transport_api_version": "V3",
            "set_node_on_first_message_only": True,
            "grpc_services": [{"envoy_grpc": {"cluster_name": names.XDS_CLUSTER}}],
        },
    }


def _control_plane(cluster: str, part: str, identity: SpiffeId, endpoint_files: Mapping[str, Path], *, http2: bool) -> Json:
    server = SpiffeId.of(identity.trust_domain, names.ROOT_NAMESPACE, names.SERVICE_ACCOUNTS[part])
    tls = {
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
        "sni": names.control_plane_dns_name(part),
        "common_tls_context": {
            "alpn_protocols": ["h2"] if http2 else ["http/1.1"],
            "tls_certificate_sds_secret_configs": [{"name": names.SDS_CERTIFICATE, "sds_config": sds_config()}],
            "combined_validation_context": {
                "default_validation_context": {"match_typed_subject_alt_names": [{"san_type": "URI", "matcher": {"exact": str(server)}}]},
                "validation_context_sds_secret_config": {"name": names.SDS_ROOTS, "sds_config": sds_config()},
            },
        },
    }
    limits = {"max_connections": _MANY, "max_pending_requests": _MANY, "max_requests": _MANY}
    return {
        "name": cluster,
        "type": "EDS",
        "connect_timeout": "1s",
        "eds_cluster_config": {
            "service_name": cluster,
            "eds_config": {"path_config_source": {"path": str(endpoint_files[cluster])}, "resource_api_version": "V3"},
        },
        "circuit_breakers": {"thresholds": [{"priority": priority} | limits for priority in ("DEFAULT", "HIGH")]},
        "upstream_connection_options": {"tcp_keepalive": {"keepalive_time": 300}},
        "transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": tls},
        "typed_extension_protocol_options": _http_options(http2=http2),
    }


def _pipe(cluster: str, path: Path, *, http2: bool) -> Json:
    endpoint = {"endpoint": {"address": {"pipe": {"path": str(path)}}}}
    return {
        "name": cluster,
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": {"cluster_name": cluster, "endpoints": [{"lb_endpoints": [endpoint]}]},
        "typed_extension_protocol_options": _http_options(http2=http2),
    }


def _http_options(*, http2: bool) -> Json:
    protocol: Json = {"http2_protocol_options": {}} if http2 else {"http_protocol_options": {}}
    return {_HTTP_OPTIONS: {"@type": f"type.googleapis.com/{_HTTP_OPTIONS}", "explicit_http_config": protocol}}


def _stats_patterns(settings: ProxySettings) -> list[Json]:
    prefixes = (*_STATS_PREFIXES, *settings.stats_inclusion_prefixes)
    return [{"prefix": prefix} for prefix in prefixes] + [{"contains": part} for part in _STATS_CONTAINED]


def _overload(settings: ProxySettings) -> Json:
    limit = {
        "@type": "type.googleapis.com/envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig",
        "max_active_downstream_connections": settings.max_downstream_connections,
    }
    return {"resource_monitors": [{"name": "envoy.resource_monitors.global_downstream_max_connections", "typed_config": limit}]}


def _stats_listener(address: str) -> Json:
    host, port = split_address(address)
    manager = {
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "stats",
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "stats",
                    "domains": ["*"],
                    "routes": [{"match": {"path": "/stats/prometheus"}, "route": {"cluster": "prometheus_stats"}}],
                }
            ]
        },
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"},
            }
        ],
    }
    return {
        "name": "stats",
        "address": {"socket_address": {"address": host, "port_value": port}},
        "filter_chains": [{"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}],
        "ignore_global_conn_limit": True,
    }
