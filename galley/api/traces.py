# SPDX-License-Identifier: Apache-2.0
"""Traces of changes: the span around every write, the spans that Pilot and Mixer report, and all of one change for whoever asks."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
import msgspec
from fastapi import APIRouter, Request, Response

from common.identity.tls import peer_identity
from common.identity.tokens import Caller
from common.proto.galley import v1_pb2, v1_pb2_grpc
from common.telemetry.spans import Span
from common.telemetry.tracing import continued, tracer
from galley.api.backend import Backend
from galley.distribution.access import part_of
from galley.errors import BadRequestError
from galley.status.traces import Traces

MOST_IN_A_CALL = 2_000
MOST_ATTRIBUTES, LONGEST = 32, 1024
NAMESPACE = "proxy.namespace"
"""Attribute of a span that concerns one proxy: only those who may read its namespace see it."""

Context = grpc.aio.ServicerContext[Any, Any]
_TRACE_ID = re.compile(r"[0-9a-f]{32}")


async def accepting(request: Request) -> AsyncIterator[None]:
    """A dependency: a request that may write is the first span of its change, or continues the trace that its caller began."""
    if request.method in ("GET", "HEAD", "OPTIONS"):
        yield
        return
    began = continued(request.headers.get("traceparent", ""))
    with tracer("galley").start_as_current_span("galley.accept", context=began) as span:
        span.set_attribute("http.method", request.method)
        yield


def trace_routes(backend: Backend) -> APIRouter:
    router = APIRouter(prefix="/apis/fourmast.io/v1")

    @router.get("/traces/{trace_id}", response_model=None)
    async def trace(trace_id: str, request: Request) -> Response:
        """The spans of one trace, in the order of their beginnings. Their ids stand in the traceparent of revisions."""
        if not _TRACE_ID.fullmatch(trace_id):
            raise BadRequestError("a trace id is 32 hexadecimal digits")
        caller: Caller = request.state.caller
        spans = [span for span in backend().traces.of(trace_id) if _may_see(caller, span)]
        return Response(msgspec.json.encode({"traceId": trace_id, "spans": spans}), media_type="application/json")

    return router


def _may_see(caller: Caller, span: Span) -> bool:
    namespace = span.attributes.get(NAMESPACE)
    return namespace is None or caller.may_read(namespace)


class TracesServicer(v1_pb2_grpc.TracesServicer):
    """`fourmast.galley.v1.Traces`, for Pilot and Mixer only."""

    def __init__(self, traces: Traces, *, trust_domain: str) -> None:
        self._traces, self._trust_domain = traces, trust_domain

    async def ReportSpans(self, request: v1_pb2.ReportSpansRequest, context: Context) -> v1_pb2.ReportSpansResponse:
        try:
            part = part_of(peer_identity(context), self._trust_domain)
        except PermissionError as error:
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, str(error))
        if len(request.spans) > MOST_IN_A_CALL:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, f"at most {MOST_IN_A_CALL} spans in a call")
        for span in request.spans:
            if len(span.trace_id) == 16 and len(span.span_id) == 8:
                self._traces.take(_span(part, span))
        return v1_pb2.ReportSpansResponse()


def _span(part: str, span: v1_pb2.Span) -> Span:
    attributes = sorted(span.attributes.items())[:MOST_ATTRIBUTES]
    return Span(
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_id[:8].hex(),
        part=part,
        name=span.name[:128],
        start=span.start,
        end=span.end,
        attributes={key[:LONGEST]: value[:LONGEST] for key, value in attributes},
        failed=span.failed,
    )
