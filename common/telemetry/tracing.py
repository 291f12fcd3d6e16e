# SPDX-License-Identifier: Apache-2.0
"""OpenTelemetry traces. The last spans stay in the process, where ControlZ shows them; those of a change of configuration are collected by
Galley (`common.registration.spans`), where `fourmast trace` asks for them. An OTLP endpoint gets everything besides."""

from __future__ import annotations

import collections
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from opentelemetry import context, trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

KEPT_SPANS = 2_000
UNTRACED_HTTP: Final[Any] = {"tracing": False, "metrics": False, "logs": False, "operation_spans": False}
"""`FastAPI(telemetry=UNTRACED_HTTP)`: no spans for single requests, which would come between the steps of a change and push them out."""
_propagator = TraceContextTextMapPropagator()

Listener = Callable[[ReadableSpan], None]


class RecentSpans(SpanExporter):
    """The last spans of this process, oldest first."""

    def __init__(self, kept: int = KEPT_SPANS) -> None:
        self.spans: collections.deque[ReadableSpan] = collections.deque(maxlen=kept)
        self._listeners: tuple[Listener, ...] = ()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.spans.extend(spans)
        for listener in self._listeners:
            for span in spans:
                listener(span)
        return SpanExportResult.SUCCESS

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Call `listener` with each span that ends, in the thread that ends it. Returns the function that stops this."""
        self._listeners = (*self._listeners, listener)

        def stop() -> None:
            self._listeners = tuple(each for each in self._listeners if each is not listener)

        return stop


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
    return traceparent_of(trace.get_current_span())


def traceparent_of(span: trace.Span) -> str:
    """The W3C traceparent of a span, or empty when it is none that anybody could continue."""
    carrier: dict[str, str] = {}
    _propagator.inject(carrier, trace.set_span_in_context(span))
    return carrier.get("traceparent", "")


def continued(traceparent: str, carrier: Mapping[str, Any] | None = None) -> context.Context:
    """A context that continues the trace of `traceparent`; one in which a new trace begins when it is empty or malformed."""
    return _propagator.extract(dict(carrier or {"traceparent": traceparent}))


def trace_id_of(traceparent: str) -> str:
    """The 32 hexadecimal digits of its trace; empty when it is malformed."""
    found = trace.get_current_span(_propagator.extract({"traceparent": traceparent}, context.Context())).get_span_context()
    return f"{found.trace_id:032x}" if found.is_valid else ""
