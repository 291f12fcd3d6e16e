# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
import pytest
from envoy.config.core.v3 import base_pb2
from envoy.data.accesslog.v3 import accesslog_pb2
from envoy.service.accesslog.v3 import als_pb2
from google.protobuf import json_format

from common.checkprotocol.attributes import Direction
from common.expression.values import Duration, Timestamp
from common.identity.spiffe import SpiffeId
from common.mesh.node import NodeId
from mixer.api.als import SERVICE, AccessLogService
from mixer.api.attributes_of_log_entries import EntryReader, Reporter, ReporterError
from mixer.errors import ReportError
from tests.unit.mixer.api.four_workloads import PEERS, RATINGS, REVIEWS, address

Json = Mapping[str, Any]
NODE = "sidecar~10.0.0.1~ratings-v1.default~default.svc.cluster.local"


def reader(direction: Direction, identity: SpiffeId = RATINGS, ip: str = "10.0.0.1") -> EntryReader:
    return EntryReader(
        Reporter(identity, NodeId(type="sidecar", ip=ip, name="ratings-v1", namespace="default"), direction, address(ip)), PEERS
    )


def socket_address(ip: str, port: int) -> Json:
    return {"socket_address": {"address": ip, "port_value": port}}


def common(**more: Any) -> Json:
    san = {"subject_alt_name": [{"uri": str(REVIEWS)}]}
    return {
        "downstream_direct_remote_address": socket_address("10.0.0.3", 40000),
        "downstream_local_address": socket_address("10.0.0.1", 9080),
        "upstream_cluster": "inbound|9080|http|ratings.default.svc.cluster.local",
        "tls_properties": {"peer_certificate_properties": san, "tls_sni_hostname": "outbound_.9080_._.ratings"},
        "start_time": "2026-01-01T00:00:00.000000001Z",
        "duration": "0.25s",
        "custom_tags": {"f": "-"},
        **more,
    }


def http(common_properties: Json, request: Json | None = None, response: Json | None = None) -> accesslog_pb2.HTTPAccessLogEntry:
    entry = {
        "common_properties": common_properties,
        "request": {"request_method": "GET", "authority": "ratings:9080", "path": "/a", **(request or {})},
        "response": {"response_code": 200, **(response or {})},
    }
    return json_format.ParseDict(entry, accesslog_pb2.HTTPAccessLogEntry())


def one(entries: EntryReader, entry: accesslog_pb2.HTTPAccessLogEntry) -> dict[str, Any]:
    (bag,) = entries.http([entry])
    return bag


class TestHttp:
    def test_inbound(self) -> None:
        bag = one(
            reader("inbound"),
            http(
                common(),
                {"path": "/a?b=c", "user_agent": "x", "request_id": "1", "request_headers_bytes": "10", "request_body_bytes": "5"},
                {"response_headers_bytes": "20", "response_body_bytes": "7"},
            ),
        )
        expected = {
            "context.reporter.kind": "inbound",
            "context.protocol": "http",
            "context.proxy_error_code": "-",
            "source.workload.name": "reviews-v2",
            "source.workload.namespace": "default",
            "source.principal": REVIEWS.principal,
            "source.labels": {"app": "reviews", "version": "v2"},
            "source.ip": address("10.0.0.3"),
            "destination.workload.name": "ratings-v1",
            "destination.principal": RATINGS.principal,
            "destination.labels": {"app": "ratings", "version": "v1"},
            "destination.service.host": "ratings.default.svc.cluster.local",
            "destination.service.name": "ratings",
            "destination.service.namespace": "default",
            "destination.ip": address("10.0.0.1"),
            "destination.port": 9080,
            "connection.mtls": True,
            "connection.requested_server_name": "outbound_.9080_._.ratings",
            "request.url_path": "/a",
            "request.query_params": {"b": "c"},
            "request.headers": {"user-agent": "x", "x-request-id": "1"},
            "request.size": 5,
            "request.total_size": 15,
            "request.time": Timestamp(1_767_225_600_000_000_001),
            "response.code": 200,
            "response.duration": Duration(250_000_000),
            "response.size": 7,
            "response.total_size": 27,
            "response.time": Timestamp(1_767_225_600_250_000_001),
        }
        assert {name: bag.get(name) for name in expected} == expected

    def test_outbound(self) -> None:
        properties = common(
            downstream_direct_remote_address=socket_address("127.0.0.1", 1),
            downstream_local_address=socket_address("10.9.9.9", 9080),
            upstream_remote_address=socket_address("10.0.0.1", 19080),
            upstream_cluster="outbound|9080|v1|ratings.default.svc.cluster.local",
            tls_properties={},
            custom_tags={"f": "-", "p": str(RATINGS), "l": str(REVIEWS)},
        )
        bag = one(reader("outbound", REVIEWS, "10.0.0.2"), http(properties))
        expected = {
            "context.reporter.kind": "outbound",
            "source.workload.name": "reviews-v1",
            "source.principal": REVIEWS.principal,
            "source.ip": address("10.0.0.2"),
            "destination.workload.name": "ratings-v1",
            "destination.principal": RATINGS.principal,
            "destination.ip": address("10.0.0.1"),
            "destination.port": 19080,
            "destination.service.host": "ratings.default.svc.cluster.local",
            "connection.mtls": False,
        }
        assert {name: bag.get(name) for name in expected} == expected

    @pytest.mark.parametrize("direction", ["inbound", "outbound"])
    def test_principals_need_mutual_tls(self, direction: Direction) -> None:
        bag = one(reader(direction), http(common(tls_properties={}, upstream_remote_address=socket_address("10.0.0.4", 80))))
        assert not {"source.principal", "source.user", "destination.principal", "destination.user"} & bag.keys()
        assert bag["source.workload.name"] == {"inbound": "reviews-v2", "outbound": "ratings-v1"}[direction]
        assert bag["destination.workload.name"] == {"inbound": "ratings-v1", "outbound": "details-v1"}[direction]

    def test_a_uid_names_the_client_where_its_address_does_not(self) -> None:
        noted = {"filter_metadata": {"istio.mixer": {"source.uid": "kubernetes://reviews-v1.default"}}}
        bag = one(reader("inbound"), http(common(downstream_direct_remote_address=socket_address("127.0.0.1", 1), metadata=noted)))
        assert bag["source.workload.name"] == "reviews-v1"

    @pytest.mark.parametrize(
        ("cluster", "tags", "expected"),
        [
            ("outbound|80||a.b.svc.cluster.local", {}, ("a.b.svc.cluster.local", "a", "b")),
            ("outbound|80||a.b.svc.cluster.local", {"c": "x.y|x|y"}, ("x.y", "x", "y")),
            ("outbound|80||a.b.svc.cluster.local", {"r": "x.y|x|y"}, ("x.y", "x", "y")),
            ("", {"r": "x.y|x|y"}, ("x.y", "x", "y")),
            ("", {"c": "x.y|x|y", "r": "u.v|u|v"}, ("x.y", "x", "y")),
            ("outbound|443||api.example.com", {}, ("api.example.com", "api.example.com", None)),
            (
                "outbound|443||api.example.com",
                {"c": "api.example.com|api.example.com|shop"},
                ("api.example.com", "api.example.com", "shop"),
            ),
            ("PassthroughCluster", {}, (None, "PassthroughCluster", None)),
            ("BlackHoleCluster", {}, (None, "BlackHoleCluster", None)),
            ("", {}, (None, None, None)),
        ],
    )
    def test_the_service(self, cluster: str, tags: dict[str, str], expected: tuple[str | None, ...]) -> None:
        bag = one(reader("outbound"), http(common(upstream_cluster=cluster, custom_tags=tags)))
        assert tuple(bag.get(f"destination.service.{field}") for field in ("host", "name", "namespace")) == expected

    def test_flags_and_a_missing_status(self) -> None:
        bag = one(reader("inbound"), http(common(custom_tags={"f": "DC"}), response={"response_code": 0}))
        assert (bag["context.proxy_error_code"], bag["response.code"]) == ("DC", 500)

    @pytest.mark.parametrize(
        ("checked", "noted", "expected"), [(False, None, None), (True, None, True), (True, False, False), (True, True, True)]
    )
    def test_whether_the_cache_answered(self, checked: bool, noted: bool | None, expected: bool | None) -> None:
        metadata = {} if noted is None else {"filter_metadata": {"istio.mixer": {"check.cache_hit": noted}}}
        tags = {"f": "-", **({"k": "1"} if checked else {})}
        assert one(reader("inbound"), http(common(metadata=metadata, custom_tags=tags))).get("check.cache_hit") is expected

    def test_a_denial(self) -> None:
        noted = {"filter_metadata": {"istio.mixer": {"check.error_code": 7, "check.error_message": "no", "check.cache_hit": False}}}
        bag = one(reader("inbound"), http(common(metadata=noted), response={"response_code": 403}))
        assert (bag["check.error_code"], bag["check.error_message"], bag["context.proxy_error_code"]) == (7, "no", "UAEX")

    def test_grpc(self) -> None:
        bag = one(
            reader("inbound"),
            http(
                common(),
                {"request_headers": {"content-type": "application/grpc"}},
                {"response_trailers": {"grpc-status": "5", "grpc-message": "m"}},
            ),
        )
        assert (bag["context.protocol"], bag["response.grpc_status"], bag["response.grpc_message"]) == ("grpc", "5", "m")

    def test_the_path_before_a_rewrite(self) -> None:
        assert one(reader("outbound"), http(common(), {"path": "/new", "original_path": "/old?a"}))["request.path"] == "/old?a"

    def test_a_client_cannot_say_which_path_it_asked_for(self) -> None:
        assert one(reader("inbound"), http(common(), {"path": "/admin", "original_path": "/public"}))["request.path"] == "/admin"

    def test_hosts_are_compared_without_case(self) -> None:
        assert one(reader("inbound"), http(common(), {"authority": "Ratings:9080"}))["request.host"] == "ratings:9080"


class TestTcp:
    def event(self, kind: str, received: int = 0, sent: int = 0, **more: Any) -> accesslog_pb2.TCPAccessLogEntry:
        entry = {
            "common_properties": common(access_log_type=kind, stream_id="s1", **more),
            "connection_properties": {"received_bytes": received, "sent_bytes": sent},
        }
        return json_format.ParseDict(entry, accesslog_pb2.TCPAccessLogEntry())

    def told(self, entries: EntryReader, *events: accesslog_pb2.TCPAccessLogEntry) -> list[tuple[str, int, int, int]]:
        names = ("connection.event", "connection.received.bytes", "connection.sent.bytes", "connection.received.bytes_total")
        return [tuple(bag[name] for name in names) for bag in entries.tcp(events)]

    def test_totals_become_steps(self) -> None:
        entries = reader("outbound")
        assert self.told(entries, self.event("TcpUpstreamConnected")) == [("open", 0, 0, 0)]
        assert self.told(entries, self.event("TcpPeriodic", 10, 1)) == [("continue", 10, 1, 10)]
        assert self.told(entries, self.event("TcpPeriodic", 10, 1)) == [("continue", 0, 0, 10)]
        assert self.told(entries, self.event("TcpConnectionEnd", 15, 4)) == [("close", 5, 3, 15)]
        assert entries.connections == {}

    def test_inbound_opening_waits_until_the_client_is_known(self) -> None:
        entries = reader("inbound")
        assert self.told(entries, self.event("TcpUpstreamConnected", tls_properties={}, duration="0.1s")) == []
        opened, closed = entries.tcp([self.event("TcpConnectionEnd", 7, 2)])
        assert (opened["connection.event"], closed["connection.event"]) == ("open", "close")
        assert opened["source.principal"] == REVIEWS.principal
        assert opened["context.time"] < closed["context.time"]
        assert closed["connection.received.bytes"] == 7
        assert closed["connection.duration"] == Duration(250_000_000)
        assert "connection.duration" not in opened
        assert closed["context.protocol"] == "tcp"

    def test_a_stream_that_begins_amid_a_connection_counts_from_there(self) -> None:
        assert self.told(reader("inbound"), self.event("TcpConnectionEnd", 15, 4)) == [("close", 15, 4, 15)]


class TestReporter:
    def test_who_reports(self) -> None:
        node = base_pb2.Node(id=NODE)
        node.metadata.fields["ISTIO_VERSION"].string_value = "1.4.10"
        reporter = Reporter.of(RATINGS, node, "istio.outbound")
        assert (reporter.direction, reporter.address, reporter.version) == ("outbound", address("10.0.0.1"), "1.4.10")

    @pytest.mark.parametrize(
        ("identity", "node", "log"),
        [
            (SpiffeId("cluster.local", "other", "ratings"), NODE, "istio.inbound"),
            (RATINGS, "someone", "istio.inbound"),
            (RATINGS, NODE, "inbound"),
            (RATINGS, NODE, "istio.sideways"),
        ],
    )
    def test_who_may_not(self, identity: SpiffeId, node: str, log: str) -> None:
        with pytest.raises(ReporterError):
            Reporter.of(identity, base_pb2.Node(id=node), log)


class Sink:
    def __init__(self) -> None:
        self.batches: list[int] = []
        self.error: Exception | None = None

    async def report(self, bags: Sequence[Mapping[str, Any]]) -> None:
        self.batches.append(len(bags))
        if self.error is not None:
            raise self.error


class TestStream:
    @asynccontextmanager
    async def sending(self, sink: Sink, identity: SpiffeId | None = RATINGS) -> AsyncIterator[Any]:
        server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        server.add_generic_rpc_handlers((AccessLogService(sink, PEERS, identify=lambda _: identity).handler(),))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield channel.stream_unary(
                f"/{SERVICE}/StreamAccessLogs",
                request_serializer=als_pb2.StreamAccessLogsMessage.SerializeToString,
                response_deserializer=als_pb2.StreamAccessLogsResponse.FromString,
            )
        await server.stop(0)

    def messages(self, *sizes: int, node: str = NODE) -> Iterator[als_pb2.StreamAccessLogsMessage]:
        for number, size in enumerate(sizes):
            message = als_pb2.StreamAccessLogsMessage()
            if number == 0:
                message.identifier.node.id, message.identifier.log_name = node, "istio.inbound"
            message.http_logs.log_entry.extend(http(common()) for _ in range(size))
            yield message

    async def test_each_message_is_one_batch(self) -> None:
        sink = Sink()
        async with self.sending(sink) as send:
            await send(self.messages(3, 1, 2))
        assert sink.batches == [3, 1, 2]

    async def test_a_failing_handler_does_not_end_the_stream(self) -> None:
        sink = Sink()
        sink.error = ReportError(["prometheus: broken"])
        async with self.sending(sink) as send:
            await send(self.messages(1, 1))
        assert sink.batches == [1, 1]

    @pytest.mark.parametrize(
        ("identity", "node", "code"),
        [
            (None, NODE, grpc.StatusCode.UNAUTHENTICATED),
            (RATINGS, "sidecar~10.0.0.1~a.other~other.svc.cluster.local", grpc.StatusCode.PERMISSION_DENIED),
        ],
    )
    async def test_who_may_not_report_is_told_so(self, identity: SpiffeId | None, node: str, code: grpc.StatusCode) -> None:
        sink = Sink()
        async with self.sending(sink, identity) as send:
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await send(self.messages(1, node=node))
        assert refused.value.code() is code
        assert sink.batches == []
