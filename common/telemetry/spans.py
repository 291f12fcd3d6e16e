# SPDX-License-Identifier: Apache-2.0
"""One finished span as a plain value: what parts tell each other and what people are shown."""

from __future__ import annotations

from typing import Any

import msgspec
from opentelemetry.sdk.trace import ReadableSpan

SYSTEM_PARTS = ("galley", "pilot", "mixer", "citadel")


class Span(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Ids are hexadecimal; `parent_id` is empty for the first of a trace. Times are nanoseconds since 1970 by the clock of `part`'s host."""

    trace_id: str
    span_id: str
    parent_id: str
    part: str
    name: str
    start: int
    end: int
    attributes: dict[str, str] = {}
    failed: bool = False


def from_finished(span: ReadableSpan) -> Span | None:
    """The value of a span that has ended; None for one without identity. Its part is the name of its tracer."""
    context: Any = span.context
    if context is None or span.start_time is None or span.end_time is None:
        return None
    scope = span.instrumentation_scope
    return Span(
        trace_id=f"{context.trace_id:032x}",
        span_id=f"{context.span_id:016x}",
        parent_id=f"{span.parent.span_id:016x}" if span.parent is not None else "",
        part=scope.name if scope is not None else "",
        name=span.name,
        start=span.start_time,
        end=span.end_time,
        attributes={key: str(value) for key, value in (span.attributes or {}).items()},
        failed=not span.status.is_unset and not span.status.is_ok,
    )
