# SPDX-License-Identifier: Apache-2.0
"""The part of a change's trace that Pilot sees: received, built, pushed, and acknowledged by each proxy.

It must cost a push to 1,000 proxies nothing to speak of. So an acknowledgement only leaves a note here, and spans are made of the notes a
moment later; only the first `MOST_PROXIES` proxies get a span of their own, the rest one together; and a change without a trace (a
workload that comes or goes) leaves no notes at all.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Status, StatusCode

from common.config.resource import ResourceKey
from common.telemetry.tracing import continued, tracer
from pilot.metrics import TYPE_LABEL
from pilot.xds.frames import Part
from pilot.xds.notices import Acked, Refused

MOST_PROXIES = 200
MOST_TRACES = 16  # changes merged into one push that get spans; a storm of changes is not traced one by one
MOST_WATCHED = 8  # pushes at a time
MOST_REMEMBERED = 4096  # responses of which it is known which pushes they belong to
WATCHED = 10.0  # seconds in which acknowledgements still belong to a push
QUIET = 0.1  # seconds after which a proxy's notes are complete


@dataclass(slots=True)
class _Notes:
    """What one proxy answered. Times are nanoseconds since 1970."""

    proxy: str
    namespace: str
    start: int
    end: int
    acked: list[str] = field(default_factory=list)
    refused: str = ""


class _Push:
    """One published snapshot with the changes that made it."""

    def __init__(self, epoch: int, keys: Collection[ResourceKey], parents: Sequence[Context], until: float) -> None:
        self.epoch, self.keys, self.parents, self.until = epoch, frozenset(keys), parents, until
        self.most = MOST_PROXIES // len(parents)
        self.open: dict[str, _Notes] = {}
        self.seen: set[tuple[str, str]] = set()
        self.named = 0
        self.others = _Notes("", "", 0, 0)
        self.other_proxies: set[str] = set()
        self._concerned: dict[int, tuple[Part, bool]] = {}

    def concerns(self, part: Part, epoch: int) -> bool:
        """Whether the part carries this change. What was sent later only does if it was made of the changed objects."""
        if epoch == self.epoch:
            return True
        found = self._concerned.get(id(part))
        if found is None:
            found = self._concerned[id(part)] = (part, any(not self.keys.isdisjoint(frame.sources) for frame in part.frames))
        return found[1]


class Propagation:
    """Give it what happens; `run` makes the spans."""

    def __init__(self) -> None:
        self._pushes: deque[_Push] = deque(maxlen=MOST_WATCHED)
        self._concerned: dict[tuple[int, int], tuple[tuple[Part, ...], tuple[_Push, ...]]] = {}
        self._wake = asyncio.Event()

    @property
    def is_watching(self) -> bool:
        """Whether answers of proxies are of interest now."""
        return bool(self._pushes)

    def offering(
        self, epoch: int, keys: Collection[ResourceKey], traceparents: Sequence[str], *, began: int, built: int
    ) -> Callable[[int], None]:
        """A snapshot is about to be offered to all proxies; call the result, with how many they were, when that is done.

        `keys` changed in it. `began` and `built` are when its build began and ended, in nanoseconds since 1970.
        """
        spans = []
        for traceparent in list(dict.fromkeys(traceparents))[-MOST_TRACES:]:
            context = continued(traceparent)
            _span("pilot.build", context, began, built, {"pilot.epoch": epoch})
            spans.append(tracer("pilot").start_span("pilot.push", context, start_time=built, attributes={"pilot.epoch": epoch}))
        if spans:
            parents = [trace.set_span_in_context(span) for span in spans]
            self._pushes.append(_Push(epoch, keys, parents, asyncio.get_running_loop().time() + WATCHED))
            self._concerned.clear()

        def offered(proxies: int) -> None:
            for span in spans:
                span.set_attribute("proxies", proxies)
                span.end()

        return offered

    def acked(self, connection: str, proxy: str, namespace: str, notice: Acked) -> None:
        """A proxy took a response."""
        now = time.time_ns()
        for push in self._concerned_by(notice):
            if (connection, notice.type_url) not in push.seen:
                push.seen.add((connection, notice.type_url))
                label = TYPE_LABEL[notice.type_url].upper()
                self._note(push, connection, proxy, namespace, now - int(notice.seconds * 1e9), now, label)

    def _concerned_by(self, notice: Acked) -> tuple[_Push, ...]:
        """The pushes whose changes were in a response; found once for all proxies that got the same parts."""
        place = (id(notice.parts), notice.epoch)
        known = self._concerned.get(place)
        if known is None:
            pushes = tuple(
                push
                for push in self._pushes
                if notice.epoch >= push.epoch and any(push.concerns(part, notice.epoch) for part in notice.parts)
            )
            if len(self._concerned) >= MOST_REMEMBERED:
                self._concerned.clear()
            known = self._concerned[place] = (notice.parts, pushes)
        return known[1]

    def refused(self, connection: str, proxy: str, namespace: str, refusal: Refused) -> None:
        """A proxy refuses a resource."""
        now = time.time_ns()
        for push in self._pushes:
            if not push.keys.isdisjoint(refusal.sources):
                words = f"{TYPE_LABEL[refusal.type_url].upper()} {refusal.name}: {refusal.message}"
                self._note(push, connection, proxy, namespace, now, now, "", words)

    def _note(self, push: _Push, connection: str, proxy: str, namespace: str, start: int, end: int, label: str, refused: str = "") -> None:
        notes = push.open.get(connection)
        if notes is None:
            if push.named >= push.most:
                push.other_proxies.add(connection)
                push.others.start = min(push.others.start or start, start)
                push.others.end = end
                self._wake.set()
                return
            push.named += 1
            notes = push.open[connection] = _Notes(proxy, namespace, start, end)
        notes.start, notes.end = min(notes.start, start), end
        if label:
            notes.acked.append(label)
        notes.refused = notes.refused or refused
        self._wake.set()

    async def run(self) -> None:
        """Turn notes into spans until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await self._wake.wait()
            await asyncio.sleep(QUIET)
            self._wake.clear()
            for push in tuple(self._pushes):
                if await self._tell(push, time.time_ns() - int(QUIET * 1e9)):
                    self._wake.set()
            while self._pushes and self._pushes[0].until < loop.time():
                self._pushes.popleft()
                self._concerned.clear()

    @staticmethod
    async def _tell(push: _Push, before: int) -> bool:
        """Make spans of what is older. True when something is left for the next time."""
        for connection, notes in tuple(push.open.items()):
            if notes.end > before:
                continue
            del push.open[connection]
            await asyncio.sleep(0)  # a span takes a while to make; others come first
            attributes = {"proxy": notes.proxy, "proxy.namespace": notes.namespace, "acked": ", ".join(notes.acked)}
            for parent in push.parents:
                _span("pilot.proxy", parent, notes.start, notes.end, attributes, refused=notes.refused)
        more = push.other_proxies
        if more and push.others.end <= before:
            for parent in push.parents:
                _span("pilot.proxies", parent, push.others.start, push.others.end, {"proxies": len(more)})
            push.other_proxies, push.others = set(), _Notes("", "", 0, 0)
        return bool(push.open or push.other_proxies)


def received(traceparent: str, collection: str, version: str, began: int) -> None:
    """A change came from Galley and was taken. `began` is in nanoseconds since 1970."""
    _span("pilot.receive", continued(traceparent), began, time.time_ns(), {"collection": collection, "version": version})


def _span(name: str, context: Context, start: int, end: int, attributes: Mapping[str, str | int], *, refused: str = "") -> None:
    """A span of the past."""
    span = tracer("pilot").start_span(name, context, start_time=start, attributes=attributes)
    if refused:
        span.set_attribute("refused", refused)
        span.set_status(Status(StatusCode.ERROR, refused))
    span.end(end)
