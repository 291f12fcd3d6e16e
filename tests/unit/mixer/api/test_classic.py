# SPDX-License-Identifier: Apache-2.0
"""`istio.mixer.v1` over a real mutual TLS channel."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
import pytest

from common.config.resource import Resource
from common.identity.tls import grpc_channel, grpc_server_credentials
from common.lifecycle.grpc import bind_grpc, grpc_server
from common.proto.mixer import service_pb2, service_pb2_grpc
from common.proto.mixer.attributes_pb2 import CompressedAttributes
from mixer.adapters.contract import Environment
from mixer.api.classic import ClassicMixer
from mixer.attributes.compression import Dictionary, compress
from mixer.attributes.dictionary import GLOBAL_WORDS
from mixer.attributes.workloads import WorkloadIndex
from mixer.dispatch.runtime import Runtime
from mixer.dispatch.shedding import SheddingPolicy
from tests.running_citadel import identity_of, new_authority, part_identity
from tests.unit.mixer.attributes.test_workloads import entry
from tests.unit.mixer.resources import denial, environment, handler, instance, load, rule, snapshot_of

authority = new_authority()
DENIAL = (
    handler("deny", "denier", denial("Not allowed")),
    instance("nothing", "checknothing"),
    rule("r", 'source.labels["app"] == "reviews"', ("deny", "nothing")),
)


@contextlib.asynccontextmanager
async def mixer(
    *resources: Resource[Any], account: str = "ratings", within: Environment | None = None, shedding: SheddingPolicy | None = None
) -> AsyncIterator[Any]:
    """A stub of a proxy of `default/<account>`, connected to a Mixer with this configuration."""
    runtime = Runtime(shedding=shedding or SheddingPolicy())
    await runtime.replace(snapshot_of(*resources, within=within))
    workloads = WorkloadIndex(
        [entry("reviews-v1", "10.0.0.1", app="reviews"), entry("ratings-v1", "10.0.0.2", account="ratings", app="ratings")]
    )
    server = grpc_server()
    servicer = ClassicMixer(runtime, workloads, lambda: runtime.snapshot.vocabulary)
    service_pb2_grpc.add_MixerServicer_to_server(servicer, server)  # type: ignore[no-untyped-call]
    address = bind_grpc(server, "127.0.0.1:0", grpc_server_credentials(part_identity(authority, "mixer")))
    await server.start()
    try:
        async with grpc_channel(identity_of(authority, "default", account), address, part="mixer") as channel:
            yield service_pb2_grpc.MixerStub(channel)  # type: ignore[no-untyped-call]
    finally:
        await server.stop(0)


def check(bag: dict[str, Any], **more: Any) -> service_pb2.CheckRequest:
    return service_pb2.CheckRequest(attributes=compress(bag), global_word_count=len(GLOBAL_WORDS), **more)


async def test_a_check_is_denied_by_what_mixer_knows_of_the_source() -> None:
    async with mixer(*DENIAL) as stub:
        response = await stub.Check(check({"context.reporter.kind": "inbound", "source.uid": "kubernetes://reviews-v1.default"}))
        precondition = response.precondition
        assert (precondition.status.code, precondition.status.message) == (7, "deny.default:Not allowed")
        assert (precondition.valid_duration.seconds, precondition.valid_use_count) == (5, 1000)
        matches = [(GLOBAL_WORDS[m.name], m.condition, m.map_key) for m in precondition.referenced_attributes.attribute_matches]
        app = -1 - list(precondition.referenced_attributes.words).index("app")
        exact = service_pb2.ReferencedAttributes.EXACT
        assert matches == [
            ("context.reporter.kind", exact, 0), ("destination.namespace", exact, 0), ("source.labels", exact, app)
        ]  # fmt: skip
        allowed = await stub.Check(check({"context.reporter.kind": "inbound", "source.ip": bytes([10, 0, 0, 2])}))
        assert allowed.precondition.status.code == 0


async def test_a_proxy_cannot_speak_for_another_namespace() -> None:
    async with mixer(*DENIAL) as stub:
        bag = {"context.reporter.kind": "inbound", "destination.namespace": "other", "source.uid": "kubernetes://reviews-v1.default"}
        assert (await stub.Check(check(bag))).precondition.status.code == 7


@pytest.mark.parametrize("said", [{"source.uid": "kubernetes://reviews-v1.default"}, {"source.ip": bytes([10, 0, 0, 1])}])
async def test_a_proxy_cannot_speak_as_another_workload(said: dict[str, Any]) -> None:
    bag = {"context.reporter.kind": "outbound", "destination.namespace": "default", **said}
    async with mixer(*DENIAL) as stub:
        assert (await stub.Check(check(bag))).precondition.status.code == 0, "ratings is not reviews, whatever it says"
    async with mixer(*DENIAL, account="reviews") as stub:
        assert (await stub.Check(check(bag))).precondition.status.code == 7


async def test_quota_and_its_deduplication() -> None:
    async with mixer(*load("deploy/samples/demo/config/ratelimit.yaml")) as stub:
        bag = {"destination.uid": "kubernetes://echo.default", "destination.labels": {"app": "echo"}}
        quotas = {"requestcountquota": service_pb2.CheckRequest.QuotaParams(amount=1, best_effort=True)}
        granted = []
        for dedup in ("a", "b", "b", "c"):
            response = await stub.Check(check(bag, quotas=quotas, deduplication_id=dedup))
            granted.append(response.quotas["requestcountquota"].granted_amount)
        assert granted == [1, 1, 1, 0]


@pytest.mark.parametrize(
    ("request_", "code", "words"),
    [
        (service_pb2.CheckRequest(global_word_count=223), grpc.StatusCode.INTERNAL, "inconsistent global dictionary versions used"),
        (
            service_pb2.CheckRequest(quotas={"q": service_pb2.CheckRequest.QuotaParams(amount=-5)}),
            grpc.StatusCode.INVALID_ARGUMENT,
            "cannot be negative",
        ),
        (service_pb2.CheckRequest(attributes={"int64s": {500: 1}}), grpc.StatusCode.INVALID_ARGUMENT, "not defined"),
    ],
)
async def test_nonsense_is_refused(request_: service_pb2.CheckRequest, code: grpc.StatusCode, words: str) -> None:
    async with mixer() as stub:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Check(request_)
        assert caught.value.code() is code
        assert words in str(caught.value.details())


async def test_overload_is_unavailable() -> None:
    async with mixer(shedding=SheddingPolicy(mode="enforce", max_requests_per_second=1, burst=1)) as stub:
        await stub.Check(check({}))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Check(check({}))
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize("delta", [True, False])
async def test_reports_in_both_encodings_reach_the_metrics(delta: bool) -> None:
    within = environment()
    async with mixer(*load("deploy/samples/mesh/telemetry.yaml"), within=within) as stub:
        base = {
            "context.reporter.kind": "inbound",
            "context.protocol": "http",
            "response.code": 200,
            "source.uid": "kubernetes://reviews-v1.default",
        }
        later = {"response.code": 404} if delta else base | {"response.code": 404}
        dictionary = Dictionary()
        semantics = service_pb2.ReportRequest.RepeatedAttributesSemantics
        request = service_pb2.ReportRequest(
            attributes=[compress(base, dictionary), compress(later, dictionary)],
            global_word_count=len(GLOBAL_WORDS),
            repeated_attributes_semantics=semantics.DELTA_ENCODING if delta else semantics.INDEPENDENT_ENCODING,
        )
        request.default_words.extend(dictionary.words)
        await stub.Report(request)
    lines = [line for line in within.metrics_page.text().decode().splitlines() if line.startswith("istio_requests_total{")]
    assert [('response_code="200"' in line, 'source_workload="reviews-v1"' in line) for line in sorted(lines)] == [
        (True, True),
        (False, True),
    ]


async def test_a_report_tells_what_failed() -> None:
    broken = (handler("p", "noop"), instance("l", "logentry", {"variables": {"a": "request.path"}}), rule("r", "", ("p", "l")))
    async with mixer(*broken) as stub:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Report(service_pb2.ReportRequest(attributes=[compress({})], global_word_count=222))
        assert caught.value.code() is grpc.StatusCode.UNKNOWN
        assert "lookup failed: 'request.path'" in str(caught.value.details())


async def test_a_report_cannot_be_much_more_than_it_weighs() -> None:
    delta = service_pb2.ReportRequest.DELTA_ENCODING
    many = service_pb2.ReportRequest(attributes=[CompressedAttributes()] * 1001, repeated_attributes_semantics=delta)
    words = [f"a{number}" for number in range(513)]
    wide = CompressedAttributes(words=words, bools={-1 - number: True for number in range(513)})
    large = service_pb2.ReportRequest(attributes=[wide], repeated_attributes_semantics=delta)
    async with mixer() as stub:
        for request, code in ((many, grpc.StatusCode.RESOURCE_EXHAUSTED), (large, grpc.StatusCode.INVALID_ARGUMENT)):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.Report(request)
            assert caught.value.code() is code
