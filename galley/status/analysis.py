# SPDX-License-Identifier: Apache-2.0
"""Runs the analysis beside the writes: some time after a change, in a thread, on one immutable snapshot. Only the newest matters."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

import structlog

from common.config.kinds.networking import WORKLOAD_ENTRY
from common.config.resource import Resource, ResourceKey
from galley import metrics
from galley.analysis import Finding, Memory
from galley.status.verdicts import NONE, Verdicts
from galley.store.model import Event, Snapshot
from galley.store.store import Store, utc_now
from galley.store.workloads import Workloads

log = structlog.get_logger("analysis")

PAUSE_SECONDS = 0.2  # a batch of changes is analysed once
SHARE = 4  # at least this many times as long as the last analysis took nothing is analysed: writes go before

BREATH_SECONDS = 50e-6


class Analyse(Protocol):
    """`galley.analysis.analyze`, with its settings."""

    def __call__(self, resources: Sequence[Resource[Any]], /, *, memory: Memory) -> Sequence[Finding]: ...


class _Result(NamedTuple):
    """Of one analysis; replaced as a whole."""

    revision: int = -1
    findings: tuple[Finding, ...] = ()
    by_key: Mapping[ResourceKey, Sequence[Finding]] = MappingProxyType({})
    verdicts: Verdicts = NONE


def breathe() -> None:
    """Give the interpreter to whoever waits for it: in istiod the event loop answers Mixer's checks beside the analysis.

    A thread that computes without a pause makes each turn of the loop wait 5 ms (Python's switch interval); with this it is 0.1 ms.
    """
    time.sleep(BREATH_SECONDS)


class Analysis:
    """Holds the last findings. Registered workloads are analysed too: selectors look at their labels.

    It also holds what an analysis leaves to the next one, so that analysing again costs what changed.
    """

    def __init__(self, store: Store, workloads: Workloads, analyse: Analyse) -> None:
        self._store, self._workloads, self._analyse = store, workloads, analyse
        self._memory = Memory()
        self._last = _Result()
        self._wake = asyncio.Event()
        self._wake.set()

    def of(self, key: ResourceKey, revision: int) -> Sequence[Finding] | None:
        """Findings about one resource; None when this revision of it was not analysed yet."""
        return self._last.by_key.get(key, ()) if revision <= self._last.revision else None

    def since(self, key: ResourceKey) -> str:
        """When the verdict on one resource last changed (RFC 3339); empty before its first analysis."""
        return self._last.verdicts.since.get(key, "")

    def all(self) -> Sequence[Finding]:
        return self._last.findings

    def on_events(self, events: Sequence[Event]) -> None:
        """Subscribe this to the store."""
        self._wake.set()

    def on_workloads(self) -> None:
        """Subscribe this to the workloads."""
        self._wake.set()

    async def run(self) -> None:
        """Analyse after every change until cancelled. A fault of an analyser is logged and leaves the findings before."""
        took = 0.0
        while True:
            await self._wake.wait()
            await asyncio.sleep(max(PAUSE_SECONDS, SHARE * took))
            self._wake.clear()
            began = time.monotonic()
            with contextlib.suppress(Exception):
                await self.analyse()
            took = time.monotonic() - began

    async def analyse(self) -> None:
        snapshot, registered = self._store.snapshot, tuple(self._workloads.resources())
        try:
            self._last = await asyncio.to_thread(self._result, snapshot, registered)
        except Exception:
            log.exception("the analysis failed; its findings stay as they were", revision=snapshot.revision)
            raise
        levels = Counter(finding.level for finding in self._last.findings)
        for level in ("Error", "Warning", "Info"):
            metrics.FINDINGS.set(levels[level], level)

    def _result(self, snapshot: Snapshot, registered: Sequence[Resource[Any]]) -> _Result:
        """Beside the event loop. Configured workloads win over registered ones of the same name, as everywhere."""
        configured = snapshot.collection(WORKLOAD_ENTRY.collection).objects
        resources = [stored.resource for stored in snapshot]
        resources += (each for each in registered if (each.namespace, each.name) not in configured)
        findings = tuple(self._analyse(resources, memory=self._memory))
        by_key: dict[ResourceKey, list[Finding]] = defaultdict(list)
        for finding in findings:
            if finding.resource is not None:
                by_key[finding.resource].append(finding)
        return _Result(snapshot.revision, findings, dict(by_key), self._last.verdicts.after(resources, findings, utc_now()))
