# SPDX-License-Identifier: Apache-2.0
"""From Galley's changes to snapshots: holds the collections, keeps the last good ones on disk, rebuilds when changes have settled."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol

import structlog

from common.config.kinds.networking import WORKLOAD_ENTRY
from common.config.resource import Resource, ResourceKey
from common.mcp.change import Change
from common.mcp.lastgood import LastGood
from common.registration.reporter import Verdict
from common.telemetry.tracing import continued, tracer
from mixer.attributes.workloads import WorkloadIndex
from mixer.rules.builder import COLLECTIONS, SnapshotBuilder
from mixer.rules.snapshot import Finding, Snapshot

log = structlog.get_logger("runtime")

ALL_COLLECTIONS: Final = (*COLLECTIONS, WORKLOAD_ENTRY.collection)
"""What Mixer asks Galley for."""

MOST_TRACES = 16  # changes in one rebuild that get spans

Publish = Callable[[Snapshot], Awaitable[None]]


class Report(Protocol):
    """`StatusReporter.report`."""

    def __call__(self, key: ResourceKey, *, resource_version: str, type: str, verdict: Verdict, reason: str, message: str = "") -> None: ...


class Intake:
    """`on_change` takes changes; `run` publishes a snapshot when the first full set is there, and after every change to policy."""

    def __init__(
        self,
        builder: SnapshotBuilder,
        workloads: WorkloadIndex,
        publish: Publish,
        *,
        last_good: LastGood | None = None,
        report: Report | None = None,
        settle: float = 0.05,
    ) -> None:
        """`settle` is how many seconds changes gather before a rebuild."""
        self._builder, self._workloads, self._publish = builder, workloads, publish
        self._last_good, self._report, self._settle = last_good, report, settle
        self._held: dict[str, dict[str, Resource[Any]]] = {}
        self._told: dict[ResourceKey, tuple[str, str]] = {}
        self._from_galley: set[str] = set()
        self._changed = asyncio.Event()
        self._traces: list[tuple[str, int]] = []
        self._closing: set[asyncio.Task[None]] = set()
        self.synced = asyncio.Event()
        """Every collection came, from Galley or from disk, and its snapshot is published."""
        self.snapshot = Snapshot()

    @property
    def missing(self) -> list[str]:
        """Collections that have not come yet."""
        return sorted(set(ALL_COLLECTIONS) - self._held.keys())

    async def restore(self) -> None:
        """Take the last good set from disk, if there is one."""
        if self._last_good is not None:
            for change in await asyncio.to_thread(self._last_good.load):
                if change.collection in ALL_COLLECTIONS:
                    self._apply(change)

    async def on_change(self, change: Change) -> None:
        """Take a change from Galley. Nothing is ever rejected as a whole: what is wrong is left out and reported at its resource."""
        first = change.collection not in self._from_galley
        self._from_galley.add(change.collection)
        self._apply(change)
        if change.traceparent and change.collection in COLLECTIONS and not first:  # the first delivery is catching up, whoever caused it
            self._traces = [*self._traces[-MOST_TRACES:], (change.traceparent, time.time_ns())]
        if self._last_good is not None:
            try:
                await asyncio.to_thread(self._last_good.record, change)
            except OSError as error:
                log.error("the last good configuration cannot be written", collection=change.collection, reason=str(error))

    async def run(self) -> None:
        """Rebuild whenever something changed, until cancelled."""
        try:
            while True:
                await self._changed.wait()
                if self.synced.is_set():
                    await asyncio.sleep(self._settle)
                self._changed.clear()
                if not self.missing:
                    try:
                        self._rebuild()
                    except Exception:  # a mistake of ours must not take away the policy in force
                        log.exception("no new snapshot; the one before stays in force", snapshot=self.snapshot.id)
        finally:
            await asyncio.gather(*self._closing, return_exceptions=True)

    def _apply(self, change: Change) -> None:
        held = {} if change.full else self._held.setdefault(change.collection, {})
        for name in change.removed:
            held.pop(name, None)
        for resource in change.upserts:
            held[resource.key.mcp_name] = resource
        self._held[change.collection] = held
        if change.collection == WORKLOAD_ENTRY.collection:
            self._workloads.replace(held.values())
            if self.synced.is_set():
                return  # workloads are no part of a snapshot
        self._changed.set()

    def _rebuild(self) -> None:
        traces, self._traces = self._traces, []
        began = time.time_ns()
        resources = [resource for name in COLLECTIONS for resource in self._held[name].values()]
        self.snapshot = self._builder.build(resources, self.snapshot)
        for finding in self.snapshot.findings:
            log.warning("left out of the configuration", resource=str(finding.resource), field=finding.field, reason=finding.message)
        log.info("configuration in force", snapshot=self.snapshot.id, epoch=self.snapshot.epoch, handlers=len(self.snapshot.handlers))
        self._trace(traces, began)
        task = asyncio.create_task(self._published(self.snapshot), name=f"publish snapshot {self.snapshot.id}")
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)
        self._tell(resources, self.snapshot.findings)

    def _trace(self, traces: list[tuple[str, int]], began: int) -> None:
        """Spans of the changes that are in force now: received, waited until others had settled, built."""
        for traceparent, received in traces:
            context = continued(traceparent)
            tracer("mixer").start_span("mixer.receive", context, start_time=received).end(began)
            attributes = {"mixer.snapshot": self.snapshot.id, "handlers": len(self.snapshot.handlers)}
            tracer("mixer").start_span("mixer.build", context, start_time=began, attributes=attributes).end()

    async def _published(self, snapshot: Snapshot) -> None:
        """Publishing returns when replaced handlers are closed, which the next rebuild need not wait for."""
        self.synced.set()
        await self._publish(snapshot)

    def _tell(self, resources: list[Resource[Any]], findings: tuple[Finding, ...]) -> None:
        """Report what is new since the last time, at the resource that it concerns."""
        if self._report is None:
            return
        problems: dict[ResourceKey, list[str]] = {}
        for finding in findings:
            problems.setdefault(finding.resource, []).append(f"{finding.field}: {finding.message}" if finding.field else finding.message)
        told: dict[ResourceKey, tuple[str, str]] = {}
        for resource in resources:
            message = "; ".join(problems.get(resource.key, ()))
            told[resource.key] = (resource.metadata.resourceVersion, message)
            if self._told.get(resource.key) != told[resource.key]:
                reason = "RejectedByMixer" if message else "AcceptedByMixer"
                for type_, verdict in (("Programmed", not message), ("Rejected", bool(message))):
                    self._report(
                        resource.key,
                        resource_version=resource.metadata.resourceVersion,
                        type=type_,
                        verdict=Verdict.TRUE if verdict else Verdict.FALSE,
                        reason=reason,
                        message=message if type_ == "Rejected" else "",
                    )
        self._told = told
