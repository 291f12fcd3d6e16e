# SPDX-License-Identifier: Apache-2.0
"""Report from Envoy: the gRPC access log, straight to Mixer.

The log's name says which direction reports. Tags carry what an entry lacks: the service of the chosen cluster and route, the short
response flags, and on the way out the identities of the upstream connection. Envoy batches for a second or 64 KiB.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from functools import cache
from typing import Final, Literal

from envoy.config.accesslog.v3 import accesslog_pb2
from envoy.config.core.v3 import config_source_pb2, grpc_service_pb2
from envoy.extensions.access_loggers.grpc.v3 import als_pb2
from envoy.extensions.filters.network.tcp_proxy.v3 import tcp_proxy_pb2
from envoy.type.metadata.v3 import metadata_pb2
from envoy.type.tracing.v3 import custom_tag_pb2
from google.protobuf import duration_pb2, wrappers_pb2

from common.checkprotocol.attributes import CHECKED_METADATA_KEY, SERVICE_METADATA, SERVICE_METADATA_KEY
from common.checkprotocol.report import LOG_NAME_PREFIX, REQUEST_HEADERS, RESPONSE_HEADERS, RESPONSE_TRAILERS, Tag
from common.mesh.names import REPORT_CLUSTER
from pilot.networking.mixerclient.check import Direction
from pilot.networking.wire import packed

FLUSH_INTERVAL: Final = timedelta(seconds=1)
BUFFER_BYTES: Final = 64 * 1024
TCP_REPORT_INTERVAL: Final = timedelta(seconds=10)  # Istio 1.4's TcpClientConfig.report_interval

TCP_ACCESS_LOG_OPTIONS: Final = tcp_proxy_pb2.TcpProxy.TcpAccessLogOptions(
    flush_access_log_on_connected=True, access_log_flush_interval=duration_pb2.Duration(seconds=int(TCP_REPORT_INTERVAL.total_seconds()))
)
"""`access_log_options` of every TCP proxy: its connection is reported when it opens, while it lasts, and when it ends."""


@cache
def http_access_logs(direction: Direction, request_headers: Sequence[str] = ()) -> tuple[accesslog_pb2.AccessLog, ...]:
    """For `access_log` of an HTTP connection manager. `request_headers` (a tuple) are logged beyond those that Mixer always reads."""
    config = als_pb2.HttpGrpcAccessLogConfig(
        common_config=_common(direction, "http"),
        additional_request_headers_to_log=sorted({*REQUEST_HEADERS, *request_headers}),
        additional_response_headers_to_log=RESPONSE_HEADERS,
        additional_response_trailers_to_log=RESPONSE_TRAILERS,
    )
    return (accesslog_pb2.AccessLog(name="envoy.access_loggers.http_grpc", typed_config=packed(config)),)


@cache
def tcp_access_logs(direction: Direction) -> tuple[accesslog_pb2.AccessLog, ...]:
    """For `access_log` of a TCP proxy, together with `TCP_ACCESS_LOG_OPTIONS`."""
    config = als_pb2.TcpGrpcAccessLogConfig(common_config=_common(direction, "tcp"))
    return (accesslog_pb2.AccessLog(name="envoy.access_loggers.tcp_grpc", typed_config=packed(config)),)


def _common(direction: Direction, protocol: Literal["http", "tcp"]) -> als_pb2.CommonGrpcAccessLogConfig:
    kinds = metadata_pb2.MetadataKind
    cluster, route = kinds(cluster=kinds.Cluster()), kinds(route=kinds.Route())
    tags = [_formatted(Tag.FLAGS, "%RESPONSE_FLAGS%"), _metadata(Tag.CLUSTER_SERVICE, cluster, SERVICE_METADATA_KEY)]
    if protocol == "http":
        tags += [_metadata(Tag.ROUTE_SERVICE, route, SERVICE_METADATA_KEY), _metadata(Tag.CHECKED, route, CHECKED_METADATA_KEY)]
    if direction == "outbound":
        tags += [_formatted(Tag.UPSTREAM_PEER, "%UPSTREAM_PEER_URI_SAN%"), _formatted(Tag.UPSTREAM_LOCAL, "%UPSTREAM_LOCAL_URI_SAN%")]
    return als_pb2.CommonGrpcAccessLogConfig(
        log_name=f"{LOG_NAME_PREFIX}{direction}",
        transport_api_version=config_source_pb2.V3,
        grpc_service=grpc_service_pb2.GrpcService(envoy_grpc=grpc_service_pb2.GrpcService.EnvoyGrpc(cluster_name=REPORT_CLUSTER)),
        buffer_flush_interval=duration_pb2.Duration(seconds=int(FLUSH_INTERVAL.total_seconds())),
        buffer_size_bytes=wrappers_pb2.UInt32Value(value=BUFFER_BYTES),
        custom_tags=tags,
    )


def _formatted(tag: Tag, text: str) -> custom_tag_pb2.CustomTag:
    return custom_tag_pb2.CustomTag(tag=tag, value=text)


def _metadata(tag: Tag, kind: metadata_pb2.MetadataKind, name: str) -> custom_tag_pb2.CustomTag:
    key = metadata_pb2.MetadataKey(key=SERVICE_METADATA, path=[metadata_pb2.MetadataKey.PathSegment(key=name)])
    return custom_tag_pb2.CustomTag(tag=tag, metadata=custom_tag_pb2.CustomTag.Metadata(kind=kind, metadata_key=key))
