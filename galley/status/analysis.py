# SPDX-License-Identifier: Apache-2.0
"""Runs the analysis beside the writes: some time after a change, in a thread, on one immutable snapshot. Only the newest matters."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import structlog

from common.config.resource import Resource, ResourceKey
from galley import metrics
from galley.analysis import Finding
from galley.store.model import Event
from galley.store.store import Store, utc_now
from galley.store.workloads import Workloads

log = structlog.get_logger("analysis")

PAUSE_SECONDS = 0.2  # a batch of changes is analysed once
SHARE = 4  # at least this many times as long as the last analysis took nothing is analysed: writes go before

BREATH_SECONDS = 50e-6

Analyse = Callable[[Sequence[Resource[Any]]], Sequence[Finding]]


def breathe() -> None:
    """Give the interpreter to whoever waits for it: in istiod the event loop answers Mixer's checks beside the analysis.

    A thread that computes without a pause makes each turn of the loop wait 5 ms (Python's switch interval); with this it is 0.1 ms.
    """
    time.sleep(BREATH_SECONDS)


class Analysis:
    """Holds the last findings. Registered workloads are analysed too: selectors look at their labels."""

    def __init__(self, store: Store, workloads: Workloads, analyse: Analyse) -> None:
        self._store, self._workloads, self._analyse = store, workloads, analyse
        self._revision = -1
        self._findings: tuple[Finding, ...] = ()
        self._by_key: Mapping[ResourceKey, tuple[Finding, ...]] = {}
        self._verdicts: Mapping[ResourceKey, tuple[bool, str]] = {}  # whether something is wrong, and since when it is so
        self._wake = asyncio.Event()
        self._wake.set()

    def of(self, key: ResourceKey, revision: int) -> Sequence[Finding] | None:
        """Findings about one resource; None when this revision of it was not analysed yet."""
        return self._by_key.get(key, ()) if revision <= self._revision else None

    def since(self, key: ResourceKey) -> str:
        """When the verdict on one resource last changed (RFC 3339); empty before its first analysis."""
        return self._verdicts.get(key, (False, ""))[1]

    def all(self) -> Sequence[Finding]:
        return self._findings

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
        snapshot = self._store.snapshot
        resources = [*(stored.resource for stored in snapshot), *self._workloads.resources()]
        try:
            findings = await asyncio.to_thread(self._analyse, resources)
        except Exception:
            log.exception("the analysis failed; its findings stay as they were", revision=snapshot.revision)
            raise
        by_key: dict[ResourceKey, tuple[Finding, ...]] = {}
        for finding in findings:
            if finding.resource is not None:
                by_key[finding.resource] = (*by_key.get(finding.resource, ()), finding)
        now, before = utc_now(), self._verdicts
        verdicts = {r.key: any(finding.level != "Info" for finding in by_key.get(r.key, ())) for r in resources}
        self._verdicts = {k: known if (known := before.get(k)) and known[0] is bad else (bad, now) for k, bad in verdicts.items()}
        self._revision, self._findings, self._by_key = snapshot.revision, tuple(findings), by_key
        levels = Counter(finding.level for finding in findings)
        for level in ("Error", "Warning", "Info"):
            metrics.FINDINGS.set(levels[level], level)
