# SPDX-License-Identifier: Apache-2.0
"""Sends a part's spans to Galley, which collects those of one change from all parts. Best effort: a trace is a convenience, so spans are
dropped when Galley is away for long or when there are too many."""

from __future__ import annotations

import asyncio
import collections
from collections.abc import Callable

import grpc
import grpc.aio
import structlog
from opentelemetry.sdk.trace import ReadableSpan

from common.identity.material import WorkloadIdentity
from common.identity.tls import grpc_channel
from common.proto.galley import v1_pb2, v1_pb2_grpc
from common.telemetry.spans import Span, from_finished
from common.telemetry.tracing import recent_spans

log = structlog.get_logger("registration")

MOST_PENDING = 4_000  # spans kept while Galley is away; beyond it the oldest are dropped
MOST_IN_A_CALL = 1_000
CALL_TIMEOUT = 5.0  # seconds
RETRY_SECONDS = 2.0


class SpanReporter:
    """Reports the spans of tracer `part` that end in this process while `run` runs."""

    def __init__(self, part: str, identity: WorkloadIdentity, address: str | Callable[[], str], *, pause: float = 0.2) -> None:
        """`pause` (seconds) is how long spans gather before they are sent together."""
        self._part, self._identity, self._pause = part, identity, pause
        self._where = address if callable(address) else lambda: address
        self._pending: collections.deque[Span] = collections.deque(maxlen=MOST_PENDING)

    async def run(self) -> None:
        """Send until cancelled."""
        loop, wake = asyncio.get_running_loop(), asyncio.Event()

        def ended(finished: ReadableSpan) -> None:
            span = from_finished(finished)
            if span is not None and span.part == self._part:
                self._pending.append(span)
                loop.call_soon_threadsafe(wake.set)

        stop = recent_spans.subscribe(ended)
        try:
            while True:
                await wake.wait()
                await asyncio.sleep(self._pause)
                wake.clear()
                while self._pending:
                    if not await self._send():
                        await asyncio.sleep(RETRY_SECONDS)
        finally:
            stop()

    async def _send(self) -> bool:
        """One call; what was not taken stays, unless it will never be."""
        batch = [self._pending.popleft() for _ in range(min(len(self._pending), MOST_IN_A_CALL))]
        request = v1_pb2.ReportSpansRequest(spans=[_message(span) for span in batch])
        try:
            async with grpc_channel(self._identity, self._where(), part="galley") as channel:
                await v1_pb2_grpc.TracesStub(channel).ReportSpans(request, timeout=CALL_TIMEOUT)  # type: ignore[no-untyped-call]
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.UNIMPLEMENTED:  # an older Galley
                return True
            log.debug("galley did not take spans; trying again", code=error.code().name, spans=len(batch))
            self._pending.extendleft(reversed(batch[: MOST_PENDING - len(self._pending)]))
            return False
        return True


def _message(span: Span) -> v1_pb2.Span:
    return v1_pb2.Span(
        trace_id=bytes.fromhex(span.trace_id),
        span_id=bytes.fromhex(span.span_id),
        parent_id=bytes.fromhex(span.parent_id),
        name=span.name,
        start=span.start,
        end=span.end,
        attributes=span.attributes,
        failed=span.failed,
    )
