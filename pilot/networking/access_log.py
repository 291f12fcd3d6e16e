# SPDX-License-Identifier: Apache-2.0
"""Access logs: the file that MeshConfig names, in Istio 1.4's format, and Mixer's Report."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, Literal, Protocol

import msgspec
from envoy.config.accesslog.v3 import accesslog_pb2
from envoy.extensions.access_loggers.file.v3 import file_pb2
from envoy.extensions.access_loggers.stream.v3 import stream_pb2

from common.config.kinds.mesh import MeshConfig
from pilot.networking.mixerclient import http_access_logs, tcp_access_logs
from pilot.networking.wire import pack

Direction = Literal["inbound", "outbound"]

STDOUT: Final = "/dev/stdout"

_FIELDS: Final = {
    "start_time": "%START_TIME%",
    "method": "%REQ(:METHOD)%",
    "path": "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%",
    "protocol": "%PROTOCOL%",
    "response_code": "%RESPONSE_CODE%",
    "response_flags": "%RESPONSE_FLAGS%",
    "istio_policy_status": "%DYNAMIC_METADATA(istio.mixer:status)%",
    "upstream_transport_failure_reason": "%UPSTREAM_TRANSPORT_FAILURE_REASON%",
    "bytes_received": "%BYTES_RECEIVED%",
    "bytes_sent": "%BYTES_SENT%",
    "duration": "%DURATION%",
    "upstream_service_time": "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%",
    "x_forwarded_for": "%REQ(X-FORWARDED-FOR)%",
    "user_agent": "%REQ(USER-AGENT)%",
    "request_id": "%REQ(X-REQUEST-ID)%",
    "authority": "%REQ(:AUTHORITY)%",
    "upstream_host": "%UPSTREAM_HOST%",
    "upstream_cluster": "%UPSTREAM_CLUSTER%",
    "upstream_local_address": "%UPSTREAM_LOCAL_ADDRESS%",
    "downstream_local_address": "%DOWNSTREAM_LOCAL_ADDRESS%",
    "downstream_remote_address": "%DOWNSTREAM_REMOTE_ADDRESS%",
    "requested_server_name": "%REQUESTED_SERVER_NAME%",
    "route_name": "%ROUTE_NAME%",
}
_TEXT: Final = (
    '[{start_time}] "{method} {path} {protocol}" {response_code} {response_flags} "{istio_policy_status}" '
    '"{upstream_transport_failure_reason}" {bytes_received} {bytes_sent} {duration} {upstream_service_time} "{x_forwarded_for}" '
    '"{user_agent}" "{request_id}" "{authority}" "{upstream_host}" {upstream_cluster} {upstream_local_address} '
    "{downstream_local_address} {downstream_remote_address} {requested_server_name} {route_name}\n"
).format_map(_FIELDS)


class AccessLogs(Protocol):
    """A repeated AccessLog."""

    def extend(self, values: Iterable[accesslog_pb2.AccessLog], /) -> None: ...


def add_http_logs(target: AccessLogs, mesh: MeshConfig, direction: Direction) -> None:
    """For an HTTP connection manager."""
    target.extend(_file_logs(mesh))
    if not mesh.disableMixerHttpReports:
        target.extend(http_access_logs(direction))


def add_tcp_logs(target: AccessLogs, mesh: MeshConfig, direction: Direction | None) -> None:
    """For a TCP proxy; without a direction Mixer hears nothing of it."""
    target.extend(_file_logs(mesh))
    if direction is not None:
        target.extend(tcp_access_logs(direction))


def _file_logs(mesh: MeshConfig) -> Iterator[accesslog_pb2.AccessLog]:
    if not mesh.accessLogFile:
        return
    log: file_pb2.FileAccessLog | stream_pb2.StdoutAccessLog
    if mesh.accessLogFile == STDOUT:
        # Envoy cannot open /dev/stdout again when its log belongs to another user, and refuses the whole listener.
        log = stream_pb2.StdoutAccessLog()
    else:
        log = file_pb2.FileAccessLog(path=mesh.accessLogFile)
    if mesh.accessLogEncoding == "JSON":
        log.log_format.json_format.update(_json_format(mesh.accessLogFormat))
    else:
        log.log_format.text_format_source.inline_string = mesh.accessLogFormat or _TEXT
    entry = accesslog_pb2.AccessLog(name="envoy.access_loggers.file")
    pack(log, entry.typed_config)
    yield entry


def _json_format(text: str) -> dict[str, str]:
    """A custom format is a JSON object of strings; anything else falls back to Istio's fields."""
    if not text:
        return _FIELDS
    try:
        return msgspec.json.decode(text, type=dict[str, str])
    except msgspec.DecodeError:
        return _FIELDS
