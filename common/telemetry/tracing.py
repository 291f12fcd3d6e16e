# SPDX-License-Identifier: Apache-2.0
"""OpenTelemetry traces. Without an endpoint the last spans stay in the process, where ControlZ shows them."""

from __future__ import annotations

import collections
from collections.abc import Mapping, Sequence
from typing import Any

from opentelemetry import context, trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

KEPT_SPANS = 2_000
_propagator = TraceContextTextMapPropagator()


class RecentSpans(SpanExporter):
    """The last spans of this process, oldest first."""

    def __init__(self, kept: int = KEPT_SPANS) -> None:
        self.spans: collections.deque[ReadableSpan] = collections.deque(maxlen=kept)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.spans.extend(spans)
        return SpanExportResult.SUCCESS


recent_spans = RecentSpans()


def set_up_tracing(service: str, endpoint: str) -> None:
    """Once per process. `endpoint` is an OTLP/HTTP traces URL, or empty."""
    provider = TracerProvider(resource=Resource.create({"service.name": service}))
    provider.add_span_processor(SimpleSpanProcessor(recent_spans))
    if endpoint:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint)))
    trace.set_tracer_provider(provider)


def tracer(name: str) -> trace.Tracer:
    return trace.get_tracer(name)


def current_traceparent() -> str:
    """The W3C traceparent of the active span, or empty."""
    carrier: dict[str, str] = {}
    _propagator.inject(carrier)
    return carrier.get("traceparent", "")


def continued(traceparent: str, carrier: Mapping[str, Any] | None = None) -> context.Context:
    """A context that continues the trace of `traceparent`; the current one when it is empty or malformed."""
    return _propagator.extract(dict(carrier or {"traceparent": traceparent}))
