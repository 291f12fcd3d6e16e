# SPDX-License-Identifier: Apache-2.0
"""Notes of acknowledgements become spans: each proxy once for each type, only for what carries the change, a bounded number."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Sequence

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider

from common.config.resource import ResourceKey
from common.mesh.names import TYPE_CLUSTER, TYPE_ENDPOINT, TYPE_ROUTE
from common.telemetry.tracing import recent_spans, set_up_tracing
from pilot.api.propagation import MOST_PROXIES, Propagation
from pilot.xds.frames import Framed, Part
from pilot.xds.notices import Acked, Refused

REVIEWS = ResourceKey("istio/networking/v1alpha3/virtualservices", "default", "reviews")
OTHER = ResourceKey("istio/networking/v1alpha3/destinationrules", "default", "other")


class Followed:
    """A propagation that runs, and a change with a trace of its own."""

    def __init__(self, number: int) -> None:
        self.trace_id = f"{number:032x}"
        self.propagation = Propagation()

    def offer(self, epoch: int = 5, *, traceparents: Sequence[str] | None = None) -> None:
        now = time.time_ns()
        mine = [f"00-{self.trace_id}-00f067aa0ba902b7-01"] if traceparents is None else traceparents
        self.propagation.offering(epoch, {REVIEWS}, mine, began=now - 2_000_000, built=now - 1_000_000)(3)

    def ack(self, proxy: str, type_url: str = TYPE_ROUTE, *, epoch: int = 5, source: ResourceKey = REVIEWS) -> None:
        part = Part((Framed(type_url, "web", b"", (source,)),)) if type_url != TYPE_CLUSTER else Part(())
        self.propagation.acked(f"{proxy}-1", proxy, "default", Acked(type_url, "n", (part,), epoch, 0.004))

    async def spans(self, name: str, count: int) -> list[ReadableSpan]:
        """The spans of our trace with this name, when there are so many and a moment later still."""
        async with asyncio.timeout(5):
            while len(self._found(name)) < count:
                await asyncio.sleep(0.02)
        await asyncio.sleep(0.15)
        return self._found(name)

    def _found(self, name: str) -> list[ReadableSpan]:
        return [s for s in recent_spans.spans if s.name == name and s.context is not None and f"{s.context.trace_id:032x}" == self.trace_id]


_numbers = iter(range(1000, 10_000))


@pytest.fixture
async def followed() -> AsyncIterator[Followed]:
    if not isinstance(trace.get_tracer_provider(), TracerProvider):
        set_up_tracing("tests", "")
    followed = Followed(next(_numbers))
    running = asyncio.create_task(followed.propagation.run())
    yield followed
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running


async def test_a_proxy_has_one_span_from_its_push_to_its_last_acknowledgement(followed: Followed) -> None:
    followed.offer()
    followed.ack("web.default", TYPE_CLUSTER)
    followed.ack("web.default", TYPE_ROUTE)
    (span,) = await followed.spans("pilot.proxy", 1)
    assert span.attributes is not None and span.attributes["acked"] == "CDS, RDS" and span.attributes["proxy"] == "web.default"
    assert span.start_time is not None and span.end_time is not None and span.end_time - span.start_time >= 4_000_000
    (push,) = await followed.spans("pilot.push", 1)
    assert push.attributes is not None and push.attributes["proxies"] == 3
    assert span.parent is not None and push.context is not None and span.parent.span_id == push.context.span_id
    assert len(await followed.spans("pilot.build", 1)) == 1


async def test_what_came_later_counts_only_if_it_is_made_of_the_change(followed: Followed) -> None:
    followed.offer()
    followed.ack("slow.default", epoch=7)
    followed.ack("unconcerned.default", TYPE_ENDPOINT, epoch=6, source=OTHER)
    followed.ack("before.default", epoch=4)
    (span,) = await followed.spans("pilot.proxy", 1)
    assert span.attributes is not None and span.attributes["proxy"] == "slow.default"


async def test_a_type_is_taken_once(followed: Followed) -> None:
    followed.offer()
    followed.ack("web.default")
    await followed.spans("pilot.proxy", 1)
    followed.ack("web.default", epoch=6)
    assert len(await followed.spans("pilot.proxy", 1)) == 1


async def test_a_refusal_fails_its_span_with_the_words_of_envoy(followed: Followed) -> None:
    followed.offer()
    refusal = Refused(TYPE_ROUTE, "web", "v", (REVIEWS,), "not like this")
    followed.propagation.refused("web.default-1", "web.default", "default", refusal)
    (span,) = await followed.spans("pilot.proxy", 1)
    assert not span.status.is_ok and span.attributes is not None and span.attributes["refused"] == "RDS web: not like this"


async def test_a_thousand_proxies_are_a_bounded_number_of_spans(followed: Followed) -> None:
    followed.offer()
    for number in range(1000):
        followed.ack(f"p{number}.default")
    named = await followed.spans("pilot.proxy", MOST_PROXIES)
    (rest,) = await followed.spans("pilot.proxies", 1)
    assert len(named) == MOST_PROXIES
    assert rest.attributes is not None and rest.attributes["proxies"] == 1000 - MOST_PROXIES


async def test_a_change_without_a_trace_is_not_watched(followed: Followed) -> None:
    followed.offer(traceparents=())
    assert not followed.propagation.is_watching
