# SPDX-License-Identifier: Apache-2.0
"""Spans of changes: kept by trace, bounded, reported by Pilot and Mixer only, shown to those who may see the proxy."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

from common.identity.tls import grpc_channel
from common.mesh.names import ROOT_NAMESPACE, SERVICE_ACCOUNTS
from common.proto.galley import v1_pb2, v1_pb2_grpc
from common.registration.spans import SpanReporter
from common.telemetry.spans import Span
from common.telemetry.tracing import continued, set_up_tracing, trace_id_of, tracer
from galley.status.traces import MOST_SPANS_OF_ONE, Traces
from tests.running_citadel import identity_of
from tests.running_galley import RunningGalley, api_token, authority, virtual_service

PILOT = identity_of(authority, ROOT_NAMESPACE, SERVICE_ACCOUNTS["pilot"])


@pytest.fixture(autouse=True)
def recording() -> Iterator[None]:
    """A process has one tracer provider; the first test that needs one makes it."""
    if not isinstance(trace.get_tracer_provider(), TracerProvider):
        set_up_tracing("tests", "")
    yield


def span(number: int, *, trace_id: str = "a" * 32, start: int = 0) -> Span:
    return Span(trace_id=trace_id, span_id=f"{number:016x}", parent_id="", part="pilot", name="pilot.push", start=start, end=start + 1)


def test_spans_come_in_the_order_of_their_beginnings_and_count_once() -> None:
    traces = Traces()
    for number, start in ((1, 30), (2, 10), (3, 20), (2, 10)):
        traces.take(span(number, start=start))
    assert [each.start for each in traces.of("a" * 32)] == [10, 20, 30]
    assert traces.of("b" * 32) == []


def test_the_oldest_traces_are_forgotten_first() -> None:
    traces = Traces(most=10)
    for number in range(30):
        traces.take(span(number, trace_id=f"{number // 3:032x}"))
    kept = [number for number in range(10) if traces.of(f"{number:032x}")]
    assert kept == [7, 8, 9]


def test_one_trace_has_an_end() -> None:
    traces = Traces()
    for number in range(MOST_SPANS_OF_ONE + 5):
        traces.take(span(number))
    assert len(traces.of("a" * 32)) == MOST_SPANS_OF_ONE


async def newest_trace(galley: RunningGalley) -> str:
    async with galley.rest() as client:
        (revision,) = (await client.get("/apis/fourmast.io/v1/revisions?limit=1")).json()["items"]
    return str(revision["traceparent"])


async def spans_of(galley: RunningGalley, traceparent: str, wanted: int, token: str | None = None) -> list[dict[str, Any]]:
    async with galley.rest(token) as client, asyncio.timeout(5):
        while True:
            found: list[dict[str, Any]] = (await client.get(f"/apis/fourmast.io/v1/traces/{trace_id_of(traceparent)}")).json()["spans"]
            if len(found) >= wanted:
                return found
            await asyncio.sleep(0.02)


async def test_a_write_is_a_trace_of_its_steps(galley: RunningGalley) -> None:
    await galley.apply(virtual_service())
    spans = await spans_of(galley, await newest_trace(galley), 4)
    assert sorted(each["name"] for each in spans) == ["galley.accept", "galley.publish", "galley.store", "galley.validate"]
    (accept,) = (each for each in spans if not each["parentId"])
    assert accept["name"] == "galley.accept" and {each["parentId"] for each in spans if each is not accept} == {accept["spanId"]}


async def test_a_callers_trace_goes_on(galley: RunningGalley) -> None:
    mine = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    async with galley.rest() as client:
        body = {"items": [{"document": virtual_service()}]}
        await client.post("/apis/fourmast.io/v1/batch", json=body, headers={"traceparent": mine})
    assert trace_id_of(await newest_trace(galley)) == "4bf92f3577b34da6a3ce929d0e0e4736"


async def test_a_part_reports_its_own_spans_and_namespaces_hide_their_proxies(galley: RunningGalley) -> None:
    await galley.apply(virtual_service())
    traceparent = await newest_trace(galley)
    running = asyncio.create_task(SpanReporter("pilot", PILOT, galley.addresses["registration"], pause=0.01).run())
    await asyncio.sleep(0)
    for namespace in ("default", "secret"):
        tracer("pilot").start_span("pilot.proxy", continued(traceparent), attributes={"proxy.namespace": namespace}).end()
    tracer("elsewhere").start_span("not of a part", continued(traceparent)).end()
    try:
        spans = await spans_of(galley, traceparent, 6)
        assert [each["part"] for each in spans].count("pilot") == 2 and "elsewhere" not in {each["part"] for each in spans}
        seen = await spans_of(galley, traceparent, 5, api_token("viewer", "default"))
        assert [each["attributes"]["proxy.namespace"] for each in seen if each["part"] == "pilot"] == ["default"]
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_only_pilot_and_mixer_report(galley: RunningGalley) -> None:
    request = v1_pb2.ReportSpansRequest(spans=[v1_pb2.Span(trace_id=b"a" * 16, span_id=b"b" * 8, name="x")])
    async with grpc_channel(identity_of(authority, "default", "reviews"), galley.addresses["registration"], part="galley") as channel:
        stub: Any = v1_pb2_grpc.TracesStub(channel)  # type: ignore[no-untyped-call]
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.ReportSpans(request)
    assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED
    async with grpc_channel(PILOT, galley.addresses["registration"], part="galley") as channel:
        await v1_pb2_grpc.TracesStub(channel).ReportSpans(request)  # type: ignore[no-untyped-call]
    (found,) = await spans_of(galley, f"00-{(b'a' * 16).hex()}-{'1' * 16}-01", 1)
    assert found["part"] == "pilot", "the certificate says whose it is"


@pytest.mark.parametrize("trace_id", ["x", "A" * 32, "0" * 31])
async def test_what_is_no_trace_id_is_said(galley: RunningGalley, trace_id: str) -> None:
    async with galley.rest() as client:
        assert (await client.get(f"/apis/fourmast.io/v1/traces/{trace_id}")).status_code == 400
