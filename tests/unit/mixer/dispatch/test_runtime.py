# SPDX-License-Identifier: Apache-2.0
"""Check and Report from end to end within the runtime, with well-behaved and other adapters."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from common.config.resource import Resource
from common.expression.values import Duration
from common.telemetry.metrics import Registry
from mixer.adapters import BUILTIN
from mixer.adapters.contract import Adapter, Batch, Environment, HandlerSpec, Verdict
from mixer.attributes.bag import Referenced, TypedBag
from mixer.dispatch.result import CheckResult, Code, HeaderOperation, Operation, QuotaRequest, QuotaResult
from mixer.dispatch.runtime import Runtime
from mixer.dispatch.shedding import SheddingPolicy
from mixer.errors import CheckError, Overloaded, ReportError
from mixer.metrics import MixerMetrics
from mixer.rules.builder import SnapshotBuilder
from mixer.rules.snapshot import Snapshot
from mixer.templates import InstanceShape
from tests.unit.mixer.resources import denial, environment, handler, instance, load, rule, snapshot_of

NOTHING = instance("nothing", "checknothing")
INBOUND = {"context.reporter.kind": "inbound", "destination.namespace": "default"}


async def runtime_of(*resources: Resource[Any], within: Environment | None = None) -> Runtime:
    runtime = Runtime()
    snapshot = snapshot_of(*resources, within=within)
    assert snapshot.findings == ()
    await runtime.replace(snapshot)
    return runtime


class Odd:
    """A handler that does what its parameters say."""

    closed = 0

    def __init__(self, spec: HandlerSpec) -> None:
        self.does = spec.name.partition(".")[0]
        self.batches: list[Batch] = []
        self.release = asyncio.Event()

    async def check(self, instance: InstanceShape, row: tuple[Any, ...]) -> Verdict:
        if self.does == "hangs":
            await asyncio.sleep(60)
        if self.does == "waits":
            await self.release.wait()
        if self.does == "raises":
            raise RuntimeError("bug")
        await asyncio.sleep(0)
        return Verdict(Code.PERMISSION_DENIED, self.does, 1.0, 1)

    async def report(self, batches: Sequence[Batch]) -> None:
        self.batches += batches
        if self.does == "raises":
            raise RuntimeError("bug")

    async def close(self) -> None:
        self.closed += 1


def odd_runtime(*resources: Resource[Any], runtime: Runtime | None = None, **limits: Any) -> tuple[Runtime, Snapshot]:
    """The same as `runtime_of`, with adapter `noop` being odd."""
    adapters = {**BUILTIN, "noop": Adapter(BUILTIN["noop"].info, lambda spec, _: Odd(spec))}
    snapshot = SnapshotBuilder(environment(**limits), adapters=adapters).build(resources, Snapshot())
    assert snapshot.findings == ()
    return runtime or Runtime(), snapshot


async def test_a_denial_names_its_handler() -> None:
    runtime = await runtime_of(handler("deny", "denier", denial("Not allowed")), NOTHING, rule("r", "", ("deny", "nothing")))
    result = await runtime.check(INBOUND)
    assert result == CheckResult(Code.PERMISSION_DENIED, "deny.default:Not allowed", 5.0, 1000)


async def test_rules_of_a_namespace_apply_to_its_own_requests() -> None:
    runtime = await runtime_of(handler("deny", "denier", denial("no")), NOTHING, rule("r", "", ("deny", "nothing")))
    for bag, code in [
        (INBOUND, 7),
        ({"destination.namespace": "default"}, 7),
        ({"context.reporter.kind": "outbound", "source.namespace": "default", "destination.namespace": "other"}, 7),
        ({"context.reporter.kind": "outbound", "source.namespace": "other", "destination.namespace": "default"}, 0),
        ({"context.reporter.kind": "inbound", "source.namespace": "default"}, 0),
        ({}, 0),
    ]:
        assert (await runtime.check(bag)).status_code == code, bag


async def test_an_answer_depends_on_what_was_read_and_nothing_else() -> None:
    match = 'destination.labels["app"] == "echo" && request.headers["x-user"] == "john"'
    runtime = await runtime_of(handler("deny", "denier", denial("no")), NOTHING, rule("r", match, ("deny", "nothing")))
    always = (Referenced("context.reporter.kind", None, True), Referenced("destination.namespace", None, True))
    bag = INBOUND | {"destination.labels": {"app": "other"}, "request.headers": {"x-user": "john"}}
    assert (await runtime.check(bag, track=True)).referenced == tuple(sorted((*always, Referenced("destination.labels", "app", True))))
    bag = INBOUND | {"destination.labels": {"app": "echo"}, "request.headers": {}}
    result = await runtime.check(bag, track=True)
    assert result.status_code == Code.OK
    assert result.referenced[-1] == Referenced("request.headers", "x-user", False)
    assert (await runtime.check(bag)).referenced == ()


async def test_header_operations_follow_an_allowed_check() -> None:
    operations: list[dict[str, Any]] = [
        {"name": "X-User", "values": ['request.headers["x-user"] | "nobody"', "request.path"], "operation": "APPEND"},
        {"name": "x-old", "operation": "REMOVE"},
        {"name": "x-empty", "values": ['""']},
    ]
    runtime = await runtime_of(rule("r", 'request.method == "GET"', headers=operations))
    bag = INBOUND | {"request.method": "GET"}
    assert (await runtime.check(bag, track=True)).header_operations == (
        HeaderOperation("x-user", "nobody", Operation.APPEND, False),
        HeaderOperation("x-old", "", Operation.REMOVE, False),
    )
    assert (await runtime.check(bag | {"request.method": "PUT"})).header_operations == ()


async def test_the_sample_rate_limit_grants_two_in_five_seconds() -> None:
    now = [0.0]
    runtime = await runtime_of(*load("deploy/samples/demo/config/ratelimit.yaml"), within=environment(lambda: now[0]))
    bag = INBOUND | {"destination.labels": {"app": "echo"}, "request.headers": {"x-client": "a"}}
    answers = [await runtime.check(bag, quotas={"RequestCountQuota": QuotaRequest(1)}, track=True) for _ in range(3)]
    assert [answer.quotas["RequestCountQuota"].granted for answer in answers] == [1, 1, 0]
    assert [answer.status_code for answer in answers] == [0, 0, 0], "an exhausted quota is the proxy's denial, not Mixer's"
    assert Referenced("request.headers", "x-client", True) in answers[0].quotas["RequestCountQuota"].referenced
    now[0] = 5.1
    assert (await runtime.check(bag, quotas={"requestcountquota": QuotaRequest(1)})).quotas["requestcountquota"].granted == 1


async def test_a_quota_that_nobody_keeps_is_granted() -> None:
    runtime = await runtime_of()
    result = await runtime.check(INBOUND, quotas={"unknown": QuotaRequest(5)})
    assert result.quotas == {"unknown": QuotaResult(5, 60.0)}


async def test_a_denied_request_takes_no_quota() -> None:
    deny = (handler("deny", "denier", denial("no")), NOTHING, rule("r", "", ("deny", "nothing")))
    runtime = await runtime_of(*deny, *load("deploy/samples/demo/config/ratelimit.yaml"))
    assert (await runtime.check(INBOUND, quotas={"requestcountquota": QuotaRequest(1)})).quotas == {}


@pytest.mark.parametrize(("name", "reason"), [("raises", "failed: RuntimeError: bug"), ("hangs", "did not answer within 0.02 s")])
async def test_a_failing_adapter_is_an_error_and_not_a_denial(name: str, reason: str) -> None:
    runtime, snapshot = odd_runtime(handler(name, "noop"), NOTHING, rule("r", "", (name, "nothing")), call_timeout=0.02)
    await runtime.replace(snapshot)
    with pytest.raises(CheckError, match=reason):
        await runtime.check(INBOUND)
    assert runtime.metrics.dispatches.value("checknothing", f"{name}.handler.default", "noop", "true") == 1


async def test_slow_adapters_are_asked_together_and_answers_keep_their_order() -> None:
    runtime, snapshot = odd_runtime(
        handler("b", "noop"), handler("a", "noop"), NOTHING, rule("r1", "", ("b", "nothing")), rule("r2", "", ("a", "nothing"))
    )
    await runtime.replace(snapshot)
    assert (await runtime.check(INBOUND)).message == "b.default:b, a.default:a"


async def test_a_bulkhead_refuses_what_it_cannot_hold() -> None:
    runtime, snapshot = odd_runtime(handler("waits", "noop"), NOTHING, rule("r", "", ("waits", "nothing")), call_concurrency=2)
    await runtime.replace(snapshot)
    waiting = [asyncio.create_task(runtime.check(INBOUND)) for _ in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(CheckError, match="2 calls in flight"):
        await runtime.check(INBOUND)
    snapshot.handlers["waits.handler.default"].handler.release.set()
    assert [result.message for result in await asyncio.gather(*waiting)] == ["waits.default:waits"] * 2


async def test_a_replaced_handler_is_closed_when_its_last_call_has_ended() -> None:
    runtime, first = odd_runtime(handler("waits", "noop"), NOTHING, rule("r", "", ("waits", "nothing")))
    await runtime.replace(first)
    odd = first.handlers["waits.handler.default"].handler
    call = asyncio.create_task(runtime.check(INBOUND))
    await asyncio.sleep(0)
    replacing = asyncio.create_task(runtime.replace(Snapshot(id=2)))
    await asyncio.sleep(0.01)
    assert runtime.snapshot.id == 2
    assert (await runtime.check(INBOUND)).status_code == Code.OK, "new calls see the new snapshot at once"
    assert odd.closed == 0
    odd.release.set()
    assert (await call).message == "waits.default:waits", "the old call keeps what it began with"
    await replacing
    assert odd.closed == 1


async def test_a_kept_handler_is_not_closed() -> None:
    resources = (handler("x", "noop"), NOTHING, rule("r", "", ("x", "nothing")))
    runtime, first = odd_runtime(*resources)
    await runtime.replace(first)
    await runtime.replace(Snapshot(id=2, handlers=first.handlers))
    assert first.handlers["x.handler.default"].handler.closed == 0


async def test_a_report_hands_each_handler_one_batch_of_all_namespaces() -> None:
    log = instance("log", "logentry", {"variables": {"path": "request.path"}}, namespace="istio-system")
    runtime, snapshot = odd_runtime(
        handler("all", "noop", namespace="istio-system"), log, rule("m", "", ("all", "log"), namespace="istio-system"),
        rule("own", 'request.path == "/b"', ("all.istio-system", "log.istio-system")),
    )  # fmt: skip
    await runtime.replace(snapshot)
    await runtime.report([INBOUND | {"request.path": "/a"}, {"request.path": "/c"}, INBOUND | {"request.path": "/b"}])
    (batch,) = snapshot.handlers["all.handler.istio-system"].handler.batches
    assert [row[0] for row in batch.rows] == [("/a",), ("/b",), ("/b",), ("/c",)]


async def test_every_bag_of_a_report_is_worked_on_before_failures_are_told() -> None:
    log = instance("log", "logentry", {"variables": {"path": "request.path"}})
    runtime, snapshot = odd_runtime(
        handler("good", "noop"), handler("raises", "noop"), log, rule("r1", "", ("raises", "log")), rule("r2", "", ("good", "log"))
    )
    await runtime.replace(snapshot)
    with pytest.raises(ReportError) as caught:
        await runtime.report([INBOUND, INBOUND | {"request.path": "/a"}, TypedBag({"destination.namespace": 5}, snapshot.vocabulary)])
    assert any("lookup failed: 'request.path' (2 times)" in text for text in caught.value.failures)
    assert any("RuntimeError: bug" in text for text in caught.value.failures)
    assert any("error converting value to string: '5'" in text for text in caught.value.failures)
    (batch,) = snapshot.handlers["good.handler.default"].handler.batches
    assert len(batch.rows) == 1


async def test_bags_of_strangers_are_typed_on_reading() -> None:
    runtime = await runtime_of(handler("deny", "denier", denial("no")), NOTHING, rule("r", "request.size > 5", ("deny", "nothing")))
    bag = TypedBag(INBOUND | {"request.size": "six"}, runtime.snapshot.vocabulary)
    assert (await runtime.check(bag, track=True)).status_code == Code.OK, "a match that fails is false"
    assert (await runtime.check(INBOUND | {"request.size": 6})).status_code == Code.PERMISSION_DENIED


async def test_standard_telemetry_counts_requests() -> None:
    within = environment()
    runtime = await runtime_of(*load("deploy/samples/mesh/telemetry.yaml"), within=within)
    bag: dict[str, Any] = INBOUND | {
        "context.protocol": "http", "response.code": 200, "response.duration": Duration(20_000_000), "connection.mtls": True,
        "source.workload.name": "productpage-v1", "destination.service.host": "reviews.default.svc.cluster.local",
    }  # fmt: skip
    await runtime.report(
        [bag] * 3 + [bag | {"request.useragent": "kube-probe/1.1"}, {"context.protocol": "tcp", "connection.event": "open"}]
    )
    text = within.metrics_page.text().decode()
    labels = (
        'reporter="destination",source_app="unknown",source_principal="unknown",source_workload="productpage-v1",'
        'source_workload_namespace="unknown",source_version="unknown",destination_app="unknown",destination_principal="unknown",'
        'destination_workload="unknown",destination_workload_namespace="unknown",destination_version="unknown",'
        'destination_service="reviews.default.svc.cluster.local",destination_service_name="unknown",'
        'destination_service_namespace="unknown",request_protocol="http",response_code="200",response_flags="-",'
        'permissive_response_code="none",permissive_response_policyid="none",connection_security_policy="mutual_tls"'
    )
    assert f"istio_requests_total{{{labels}}} 3\n" in text
    assert f'istio_request_duration_seconds_bucket{{{labels},le="0.025"}} 3\n' in text
    assert f'istio_request_duration_seconds_bucket{{{labels},le="0.01"}} 0\n' in text
    assert "istio_tcp_connections_opened_total{" in text
    assert text.count("istio_requests_total{") == 1, "probes are not counted"


async def test_load_shedding_refuses_with_its_own_error() -> None:
    metrics = MixerMetrics(Registry())
    runtime = Runtime(metrics, shedding=SheddingPolicy(mode="enforce", max_requests_per_second=2), clock=lambda: 0.0)
    await runtime.check({})
    with pytest.raises(Overloaded):
        await runtime.report([{}, {}])
    assert metrics.shed.value() == 1


async def test_gauges_describe_the_snapshot_in_force() -> None:
    runtime = Runtime()
    resources = (
        handler("deny", "denier", denial("no")),
        NOTHING,
        rule("r", "", ("deny", "nothing")),
        rule("b", "nope", ("deny", "nothing")),
    )
    await runtime.replace(snapshot_of(*resources))
    metrics = runtime.metrics
    found = [gauge.value() for gauge in (metrics.rule_configs, metrics.rule_errors, metrics.handler_configs, metrics.instance_configs)]
    assert found == [2, 1, 1, 1]
    assert (metrics.new_handlers.value(), metrics.destinations.value("CHECK"), metrics.attributes.value()) == (1, 1, 90)
