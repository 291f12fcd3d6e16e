# SPDX-License-Identifier: Apache-2.0
"""The spans of recent changes from all parts, by trace. In memory only: the id of a trace rests with its revision, its spans are for now."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from opentelemetry.sdk.trace import ReadableSpan

from common.telemetry.spans import SYSTEM_PARTS, Span, from_finished

MOST_TRACES = 500
MOST_SPANS = 20_000
"""Of all traces together; the oldest traces go first."""
MOST_SPANS_OF_ONE = 1_000


class Traces:
    """Give it spans with `take`; it forgets by itself. Spans of a process that holds several parts may come twice: they count once."""

    def __init__(self, *, most: int = MOST_SPANS) -> None:
        self._most = most
        self._traces: OrderedDict[str, dict[str, Span]] = OrderedDict()
        self._count = 0

    def ended(self, span: ReadableSpan) -> None:
        """A span of this process; the part that took the step is the name of its tracer. Others are of no change and not kept."""
        found = from_finished(span)
        if found is not None and found.part in SYSTEM_PARTS:
            self.take(found)

    def take(self, span: Span) -> None:
        spans = self._traces.get(span.trace_id)
        if spans is None:
            spans = self._traces[span.trace_id] = {}
        if span.span_id in spans or len(spans) >= MOST_SPANS_OF_ONE:
            return
        spans[span.span_id] = span
        self._count += 1
        while len(self._traces) > 1 and (self._count > self._most or len(self._traces) > MOST_TRACES):
            _, gone = self._traces.popitem(last=False)
            self._count -= len(gone)

    def of(self, trace_id: str) -> Sequence[Span]:
        """Its spans in the order of their beginnings; empty when it is not known (any more)."""
        return sorted(self._traces.get(trace_id, {}).values(), key=lambda span: (span.start, span.end))
