# SPDX-License-Identifier: Apache-2.0
"""One proxy's stream with its two ends: the conversation (no I/O) and the wire.

`poke` is the whole driver: it asks the conversation for the next response when the wire is free, and otherwise does nothing, because the
end of a write pokes again. So a push to a proxy that has nothing to hear costs no task switch.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

from common.config.resource import ResourceKey
from common.mesh.names import TYPE_VIRTUAL_HOST
from pilot import metrics
from pilot.api.blame import blamed
from pilot.api.nodes import Described
from pilot.api.propagation import Propagation
from pilot.api.reports import Reports
from pilot.metrics import TYPE_LABEL
from pilot.model.proxy import Proxy
from pilot.model.push import PushContext
from pilot.xds.cache import Epoch
from pilot.xds.nack import Refusal
from pilot.xds.notices import Acked, Converged, Expired, Nacked, Refused
from pilot.xds.queue import NEVER
from pilot.xds.requests import Request
from pilot.xds.stream import Send, Stream

Conversation = Stream[PushContext, Proxy]
Write = Callable[[bytes], Awaitable[None]]


class Connection:
    """A connected proxy. `id` is unique in this process and begins with the proxy's id."""

    def __init__(
        self,
        id: str,
        node: Described,
        stream: Conversation,
        *,
        peer: str,
        write: Write,
        reports: Reports,
        propagation: Propagation,
        since: Callable[[ResourceKey], int],
    ) -> None:
        """`since` gives the epoch that has an object as it is now."""
        self.id, self.node, self.stream, self.peer = id, node, stream, peer
        self._since = since
        self.connected_at = time.time()
        self.writing_since: float | None = None
        """Loop time at which the write under way began."""
        self.cut = False
        self._write, self._reports, self._propagation = write, reports, propagation
        self._loop = asyncio.get_running_loop()
        self._pending: Send | None = None
        self._free: asyncio.Future[None] | None = None
        self._alarm: asyncio.TimerHandle | None = None
        self._rejected: set[tuple[str, str]] = set()
        self._tasks: tuple[asyncio.Future[None], ...] = ()

    def offer(self, epoch: Epoch[PushContext, Proxy]) -> None:
        """There is a newer snapshot."""
        self.stream.offer(epoch)
        self.poke()

    def receive(self, request: Request) -> None:
        self.stream.receive(request, self._loop.time())
        self._take_notices()
        self.poke()

    def poke(self) -> None:
        """Something happened: hand the next response to the writer, or set the alarm for when time brings one."""
        if self._pending is not None:
            return
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        send = self.stream.next(self._loop.time())
        self._take_notices()
        if send is not None:
            self._pending = send
            if self._free is not None and not self._free.done():
                self._free.set_result(None)
        elif self.stream.wake_at < NEVER:
            self._alarm = self._loop.call_at(self.stream.wake_at, self.poke)

    async def converse(self, read: Callable[[], Awaitable[None]]) -> None:
        """Read and write until the proxy ends its side, the wire fails or `abort` is called."""
        reading = asyncio.ensure_future(read())
        writing = asyncio.ensure_future(self._write_all())
        self._tasks = (reading, writing)
        try:
            done, _ = await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            reading.cancel()
            writing.cancel()
            await asyncio.gather(reading, writing, return_exceptions=True)

    def abort(self) -> None:
        """End the stream: its proxy is too slow, or we failed."""
        self.cut = True
        for task in self._tasks:
            task.cancel()

    async def _write_all(self) -> None:
        while True:
            if self._pending is None:
                self._free = self._loop.create_future()
                await self._free
                self._free = None
            send = self._pending
            if send is None:
                continue
            label = TYPE_LABEL[send.type_url]
            self.writing_since = self._loop.time()
            try:
                await self._write(send.payload)
            except Exception:
                metrics.PUSHES.add(1, f"{label}_senderr")
                raise
            self.writing_since = None
            metrics.PUSHES.add(1, label)
            self._pending = send = None
            self.poke()

    def close(self) -> None:
        """The stream ended."""
        if self._alarm is not None:
            self._alarm.cancel()
        for kind, reason in self._rejected:
            metrics.REJECTS[kind].forget(self.node.proxy_id, reason)
        self._reports.gone(self.id)

    def _take_notices(self) -> None:
        for notice in self.stream.notices():
            match notice:
                case Acked():
                    metrics.PUSH_TIME.observe(notice.seconds, TYPE_LABEL[notice.type_url])
                    self._reports.accepted(self.id, notice.type_url, notice.parts)
                    if self._propagation.is_watching:
                        self._propagation.acked(self.id, self.node.proxy_id, self.node.id.namespace, notice)
                    if self._rejected:
                        self._forget_rejects(notice.type_url)
                case Converged():
                    metrics.CONVERGENCE_TIME.observe(self._loop.time() - self.stream.epoch.created)
                case Nacked():
                    metrics.TOTAL_REJECTS.add(1, TYPE_LABEL[notice.type_url])
                case Refused():
                    kind = TYPE_LABEL[notice.type_url]
                    self._rejected.add((kind, "INVALID_ARGUMENT"))
                    metrics.REJECTS[kind].set(self._held(notice.type_url), self.node.proxy_id, "INVALID_ARGUMENT")
                    refused = notice._replace(sources=blamed(notice.sources, notice.since, self._since))
                    self._reports.refused(self.id, refused)
                    self._propagation.refused(self.id, self.node.proxy_id, self.node.id.namespace, refused)
                case Expired():
                    metrics.EXPIRED_NONCE.add(1, TYPE_LABEL[notice.type_url])
                    if TYPE_LABEL[notice.type_url] == "rds":
                        metrics.RDS_EXPIRED_NONCE.add(1)

    def blamed(self, refusal: Refusal) -> tuple[ResourceKey, ...]:
        """The configuration that this refusal is the fault of."""
        return blamed(refusal.frame.sources, refusal.since, self._since)

    def _held(self, type_url: str) -> int:
        trouble = self.stream.subscriptions[type_url].trouble
        return len(trouble.held) if trouble is not None else 0

    def _forget_rejects(self, type_url: str) -> None:
        kind = TYPE_LABEL[type_url]
        held = self._held(type_url)
        if held:
            metrics.REJECTS[kind].set(held, self.node.proxy_id, "INVALID_ARGUMENT")
        elif (kind, "INVALID_ARGUMENT") in self._rejected:
            self._rejected.discard((kind, "INVALID_ARGUMENT"))
            metrics.REJECTS[kind].forget(self.node.proxy_id, "INVALID_ARGUMENT")


def synchronization(connection: Connection) -> dict[str, Any]:
    """A row of /debug/syncz in Istio 1.4's keys, and `states` with what the nonces mean."""
    row: dict[str, Any] = {
        "proxy": connection.node.proxy_id,
        "istio_version": connection.node.metadata.ISTIO_VERSION,
        "node_type": connection.node.id.type,
        "connection": connection.id,
    }
    states: dict[str, Any] = {}
    words = {"cds": "cluster", "lds": "listener", "rds": "route", "vhds": "virtual_host", "eds": "endpoint"}
    for type_url, label in TYPE_LABEL.items():
        word = words[label]
        subscription = connection.stream.subscriptions.get(type_url)
        if subscription is None:
            if type_url != TYPE_VIRTUAL_HOST:  # a proxy need not have it
                states[word] = {"state": "NOT SENT"}
            continue
        if subscription.nonce_sent:
            row[f"{word}_sent"] = subscription.nonce_sent
        if subscription.nonce_acked:
            row[f"{word}_acked"] = subscription.nonce_acked
        state: dict[str, Any] = {"state": subscription.state.value}
        if subscription.trouble is not None and subscription.trouble.held:
            state["rejected"] = [
                {
                    "resource": name,
                    "reason": refusal.message,
                    "sources": [{"collection": s.collection, "name": s.mcp_name} for s in connection.blamed(refusal)],
                }
                for name, refusal in sorted(subscription.trouble.held.items())
            ]
        states[word] = state
    row["states"] = states
    return row
