# SPDX-License-Identifier: Apache-2.0
"""The bag of an access log entry. Every request of the mesh passes here, mostly twice, so fields are read one by one and nothing is
converted whole."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

from envoy.config.core.v3 import base_pb2
from envoy.data.accesslog.v3 import accesslog_pb2
from google.protobuf import duration_pb2, timestamp_pb2

from common.checkprotocol.attributes import Direction, split_service
from common.checkprotocol.report import LOG_NAME_PREFIX, Tag
from common.expression.values import NANOSECONDS, Duration, Timestamp
from common.identity.spiffe import SpiffeId
from common.mesh.names import SERVICE_DOMAIN
from common.mesh.node import NodeId
from mixer.api.attributes_of_peers import Peer, PeerAttributes

CHECK_METADATA = "istio.mixer"
MAX_QUERY_FIELDS = 256
MAX_CONNECTIONS = 100_000
_METHODS = dict(zip(base_pb2.RequestMethod.values(), base_pb2.RequestMethod.keys(), strict=True)) | {0: ""}
_FLAGS, _CLUSTER, _ROUTE, _CHECKED, _PEER, _LOCAL = map(
    str, (Tag.FLAGS, Tag.CLUSTER_SERVICE, Tag.ROUTE_SERVICE, Tag.CHECKED, Tag.UPSTREAM_PEER, Tag.UPSTREAM_LOCAL)
)
_UPSTREAM_CONNECTED = accesslog_pb2.AccessLogType.TcpUpstreamConnected
_CONNECTION_END = accesslog_pb2.AccessLogType.TcpConnectionEnd
_PSEUDO_SERVICES = ("PassthroughCluster", "BlackHoleCluster", "InboundPassthroughCluster")
_DOMAIN = "." + SERVICE_DOMAIN


class ReporterError(ValueError):
    """The stream says of itself what its certificate does not cover."""


@dataclass(frozen=True, slots=True)
class Reporter:
    """Who sends a stream of entries: the proxy's certificate says which account, its node id at which address, the log's name which direction."""

    identity: SpiffeId
    node: NodeId
    direction: Direction
    address: bytes | None = None
    version: str = ""

    @classmethod
    def of(cls, identity: SpiffeId, node: base_pb2.Node, log_name: str) -> Reporter:
        """From a stream's first message. Raises ReporterError when the node is not of the certificate's namespace, or the log not one of ours."""
        try:
            parsed = NodeId.parse(node.id)
        except ValueError as error:
            raise ReporterError(str(error)) from None
        if parsed.namespace != identity.namespace:
            raise ReporterError(f"{identity} may not report for node {node.id}")
        direction = log_name.removeprefix(LOG_NAME_PREFIX)
        if direction not in ("inbound", "outbound") or not log_name.startswith(LOG_NAME_PREFIX):
            raise ReporterError(f"access log {log_name!r} is not one of this mesh")
        version = node.metadata.fields["ISTIO_VERSION"].string_value if "ISTIO_VERSION" in node.metadata.fields else ""
        return cls(identity, parsed, "inbound" if direction == "inbound" else "outbound", _packed(parsed.ip), version)


@dataclass(slots=True)
class _Bytes:
    received: int = 0
    sent: int = 0
    opened: Timestamp | None = None
    """When the connection opened, while that is not reported yet."""


@dataclass(slots=True)
class EntryReader:
    """Turns the entries of one stream into bags. It remembers the byte counts of open TCP connections: Envoy logs totals, Mixer wants steps."""

    reporter: Reporter
    peers: PeerAttributes
    connections: dict[str, _Bytes] = field(default_factory=dict)
    _ends: dict[tuple[str, ...], dict[str, Any]] = field(default_factory=dict)

    def http(self, entries: Iterable[accesslog_pb2.HTTPAccessLogEntry]) -> list[dict[str, Any]]:
        """Bags of a batch of requests, in their order."""
        self._ends.clear()  # what is known of both ends is looked up once for each batch
        return [self._http(entry) for entry in entries]

    def tcp(self, entries: Iterable[accesslog_pb2.TCPAccessLogEntry]) -> list[dict[str, Any]]:
        """Bags of a batch of connection events, in their order."""
        self._ends.clear()
        if len(self.connections) > MAX_CONNECTIONS:  # their ends were lost, because Envoy drops entries when Mixer is slow
            self.connections.clear()
        return [bag for entry in entries for bag in self._tcp(entry)]

    def _http(self, entry: accesslog_pb2.HTTPAccessLogEntry) -> dict[str, Any]:
        common, request, response = entry.common_properties, entry.request, entry.response
        bag = self._common(common)
        start, duration = _timestamp(common.start_time), _duration(common.duration)
        path = request.path
        if self.reporter.direction == "outbound" and request.original_path:
            path = request.original_path  # before a rewrite of our own; inbound it is a header that any client could have sent
        headers = dict(request.request_headers)
        if request.user_agent:
            headers["user-agent"] = bag["request.useragent"] = request.user_agent
        if request.referer:
            headers["referer"] = bag["request.referer"] = request.referer
        if request.request_id:
            headers["x-request-id"] = request.request_id
        bag["request.headers"] = headers
        bag["request.host"] = request.authority.lower()  # as the filter sends it to Check
        bag["request.method"] = _METHODS.get(request.request_method, "")
        bag["request.path"] = path
        bag["request.url_path"] = path
        if "?" in path:
            bag["request.url_path"], _, query = path.partition("?")
            bag["request.query_params"] = dict(parse_qsl(query, keep_blank_values=True, max_num_fields=MAX_QUERY_FIELDS))
        bag["request.scheme"] = request.scheme or "http"
        bag["request.size"] = request.request_body_bytes
        bag["request.total_size"] = request.request_headers_bytes + request.request_body_bytes
        bag["request.time"] = start
        bag["response.code"] = response.response_code.value or 500
        bag["response.duration"] = duration
        bag["response.size"] = response.response_body_bytes
        bag["response.total_size"] = response.response_headers_bytes + response.response_body_bytes
        bag["response.time"] = Timestamp(start + duration)
        answered = dict(response.response_headers)
        answered.update(response.response_trailers)
        bag["response.headers"] = answered
        if "grpc-status" in answered:
            bag["response.grpc_status"] = answered["grpc-status"]
            if "grpc-message" in answered:
                bag["response.grpc_message"] = answered["grpc-message"]
        bag["context.protocol"] = "grpc" if headers.get("content-type", "").startswith("application/grpc") else "http"
        if _CHECKED in common.custom_tags:
            bag["check.cache_hit"] = True  # unless the filter noted something else
        if CHECK_METADATA in common.metadata.filter_metadata:
            _add_check(bag, common.metadata.filter_metadata[CHECK_METADATA].fields)
        return bag

    def _tcp(self, entry: accesslog_pb2.TCPAccessLogEntry) -> list[dict[str, Any]]:
        common, key = entry.common_properties, entry.common_properties.stream_id
        start, duration = _timestamp(common.start_time), _duration(common.duration)
        now = Timestamp(start + duration)
        if common.access_log_type == _UPSTREAM_CONNECTED and self.reporter.direction == "inbound":
            # Envoy logs this before the TLS handshake has ended, so nobody knows yet who the client is: report it with the next event.
            self.connections[key] = _Bytes(opened=now)
            return []
        bag = self._common(common)
        bag["connection.id"] = key
        bag["context.protocol"] = "tcp"
        bags: list[dict[str, Any]] = []
        if common.access_log_type == _UPSTREAM_CONNECTED:
            self.connections[key] = _Bytes()
            return [_event(bag, "open", now, (0, 0), (0, 0))]
        known = self.connections.get(key, _Bytes())
        if known.opened is not None:
            bags.append(_event(dict(bag), "open", known.opened, (0, 0), (0, 0)))
        totals = (entry.connection_properties.received_bytes, entry.connection_properties.sent_bytes)
        step = (totals[0] - known.received, totals[1] - known.sent)
        if common.access_log_type == _CONNECTION_END:
            self.connections.pop(key, None)
            bag["connection.duration"] = duration
            bags.append(_event(bag, "close", now, step, totals))
        else:
            self.connections[key] = _Bytes(*totals)
            bags.append(_event(bag, "continue", now, step, totals))
        return bags

    def _common(self, common: accesslog_pb2.AccessLogCommon) -> dict[str, Any]:
        reporter, tags, tls = self.reporter, common.custom_tags, common.tls_properties
        client = common.downstream_direct_remote_address.socket_address
        bag: dict[str, Any] = {}
        if reporter.direction == "inbound":
            server = common.downstream_local_address.socket_address
            names = tls.peer_certificate_properties.subject_alt_name
            uri = names[0].uri if names else ""
            bag.update(self._both_ends(uri, client.address, server.address, _said_uid(common)))
            bag["connection.mtls"] = bool(uri)
            bag["source.port"] = client.port_value
        else:
            server = common.upstream_remote_address.socket_address
            bag.update(self._both_ends(tags.get(_LOCAL, ""), tags.get(_PEER, ""), server.address))
            bag["connection.mtls"] = False
        if server.port_value:
            bag["destination.port"] = server.port_value
        if tls.tls_sni_hostname:
            bag["connection.requested_server_name"] = tls.tls_sni_hostname
        origin = _packed(client.address)
        if origin:
            bag["origin.ip"] = origin
        _add_service(bag, tags, common.upstream_cluster)
        bag["context.proxy_error_code"] = tags.get(_FLAGS, "-")
        return bag

    def _both_ends(self, *ends: str) -> Mapping[str, Any]:
        """Inbound: the client's URI and address, the server's address, the client's uid. Outbound: our own URI, the server's URI and address."""
        try:
            return self._ends[ends]
        except KeyError:
            pass
        reporter = self.reporter
        own = Peer(str(reporter.identity), reporter.address)
        if reporter.direction == "inbound":
            uri, client, server, uid = ends
            source = Peer(uri, _packed(client), uid)
            addresses = (source.address, _packed(server) or own.address)
            bag = self.peers.of("source", source)
            bag |= self.peers.of("destination", own._replace(address=addresses[1]))
            proven = bool(uri)
        else:
            local, uri, server = ends
            destination = Peer(uri, _packed(server))
            addresses = (own.address, destination.address)
            bag = self.peers.of("source", own)
            bag |= self.peers.of("destination", destination)
            proven = bool(local)
        if not proven:  # as in Istio 1.4, the proxy's own principal is reported only where it was shown to the other end
            side = "destination" if reporter.direction == "inbound" else "source"
            bag.pop(f"{side}.principal", None)
            bag.pop(f"{side}.user", None)
        for name, address in zip(("source.ip", "destination.ip"), addresses, strict=True):
            if address:
                bag[name] = address
        bag["context.reporter.kind"] = reporter.direction
        bag["context.reporter.uid"] = f"kubernetes://{reporter.node.name}.{reporter.node.namespace}"
        if reporter.version:
            bag["context.proxy_version"] = reporter.version
        self._ends[ends] = bag
        return bag


def _event(bag: dict[str, Any], event: str, time: Timestamp, step: tuple[int, int], totals: tuple[int, int]) -> dict[str, Any]:
    bag["connection.event"], bag["context.time"] = event, time
    bag["connection.received.bytes"], bag["connection.sent.bytes"] = step
    bag["connection.received.bytes_total"], bag["connection.sent.bytes_total"] = totals
    return bag


def _add_service(bag: dict[str, Any], tags: Mapping[str, str], cluster: str) -> None:
    text = tags.get(_CLUSTER) or tags.get(_ROUTE)
    if text:
        _set_service(bag, *split_service(text))
    elif cluster in _PSEUDO_SERVICES:
        bag["destination.service.name"] = cluster
    elif cluster:
        host = cluster.rpartition("|")[2]
        name, _, namespace = host.removesuffix(_DOMAIN).partition(".")
        if host.endswith(_DOMAIN) and "." not in namespace:
            _set_service(bag, host, name, namespace)
        elif "|" in cluster and host:
            _set_service(bag, host, host, "")


def _set_service(bag: dict[str, Any], host: str, name: str, namespace: str) -> None:
    bag["destination.service.host"], bag["destination.service.name"] = host, name
    if namespace:
        bag["destination.service.namespace"] = namespace
        bag["destination.service.uid"] = f"istio://{namespace}/services/{name}"


def _add_check(bag: dict[str, Any], fields: Mapping[str, Any]) -> None:
    """What the Lua filter noted of this request."""
    for name in ("check.cache_hit", "quota.cache_hit"):
        if name in fields:
            bag[name] = fields[name].bool_value
    if "check.error_code" in fields:
        bag["check.error_code"] = int(fields["check.error_code"].number_value)
        bag["check.error_message"] = fields["check.error_message"].string_value
        if bag["context.proxy_error_code"] == "-":
            bag["context.proxy_error_code"] = "UAEX"  # what a denial by Mixer was called
    if "destination.service" in fields:
        _set_service(bag, *split_service(fields["destination.service"].string_value))


def _said_uid(common: accesslog_pb2.AccessLogCommon) -> str:
    """Which workload a client's proxy says to be; noted only where its address does not tell."""
    if CHECK_METADATA not in common.metadata.filter_metadata:
        return ""
    fields = common.metadata.filter_metadata[CHECK_METADATA].fields
    return fields["source.uid"].string_value if "source.uid" in fields else ""


def _packed(address: str) -> bytes | None:
    found = _addresses.get(address)
    if found is None and address:
        try:
            found = ipaddress.ip_address(address).packed
        except ValueError:
            return None
        if len(_addresses) >= 10_000:
            _addresses.clear()
        _addresses[address] = found
    return found


_addresses: dict[str, bytes] = {}


def _timestamp(time: timestamp_pb2.Timestamp) -> Timestamp:
    return Timestamp(time.seconds * NANOSECONDS + time.nanos)


def _duration(span: duration_pb2.Duration) -> Duration:
    return Duration(span.seconds * NANOSECONDS + span.nanos)
