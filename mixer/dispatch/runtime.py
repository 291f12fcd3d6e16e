# SPDX-License-Identifier: Apache-2.0
"""The heart of Mixer as its listeners see it: one snapshot, and two questions that may be asked of it."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import structlog

from common.config.kinds.mixer import HANDLER, INSTANCE, RULE
from common.telemetry.metrics import Registry
from mixer.attributes.bag import Tracker
from mixer.compiler.program import Note, Program
from mixer.dispatch.calls import Calls
from mixer.dispatch.combine import combine
from mixer.dispatch.result import DEFAULT_VALID_DURATION, CheckResult, Code, HeaderOperation, Operation, QuotaRequest, QuotaResult
from mixer.dispatch.shedding import LoadShedder, SheddingPolicy
from mixer.errors import CheckError, ReportError
from mixer.metrics import MixerMetrics
from mixer.rules.snapshot import Directives, NamespaceRules, Slot, Snapshot

log = structlog.get_logger("runtime")

CLOSE_AFTER = 10.0  # seconds that a replaced handler's calls are waited for
MAX_FAILURES = 20  # texts of failures in one error


class Runtime:
    """Answers Check and Report from the current snapshot. `snapshot` is replaced whole; calls in flight keep the one they began with."""

    def __init__(
        self,
        metrics: MixerMetrics | None = None,
        *,
        shedding: SheddingPolicy = SheddingPolicy(),  # noqa: B008 - frozen
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.metrics = metrics or MixerMetrics(Registry())
        self._snapshot = Snapshot()
        self._clock = clock
        self._sheds, self._shedder = shedding.mode != "disabled", LoadShedder(shedding, clock())
        self._calls = Calls(self.metrics, clock)
        self._users: Counter[int] = Counter()
        self._released = asyncio.Event()
        self._warned: set[tuple[int, str]] = set()

    @property
    def snapshot(self) -> Snapshot:
        return self._snapshot

    async def check(self, bag: Mapping[str, Any], *, quotas: Mapping[str, QuotaRequest] | None = None, track: bool = False) -> CheckResult:
        """Policy and quota for one request.

        Raises `mixer.errors.CheckError` when an adapter failed (not when it denied): the proxy's fail policy decides. Raises Overloaded
        when load shedding refuses.
        """
        with self._work(1) as snapshot:
            source = Tracker(bag) if track else bag
            rules, failures = snapshot.default, list[str]()
            try:
                rules = snapshot.rules_for(source)
            except Exception as error:
                raise CheckError([str(error)]) from error
            verdicts = []
            if rules.check is not None:
                rows = self._run(rules.check.program, source, failures)
                calls = ((slot, row) for slot, collected in zip(rules.check.slots, rows, strict=True) for row in collected)
                verdicts = await self._calls.check(calls, failures)
            if failures:
                raise CheckError(failures)
            result = combine(verdicts)
            operations: tuple[HeaderOperation, ...] = ()
            granted: dict[str, QuotaResult] = {}
            if result.status_code == Code.OK:
                if rules.directives is not None:
                    operations = self._header_operations(rules.directives, source)
                for name, request in (quotas or {}).items():
                    granted[name] = await self._quota(snapshot, bag, name, request, track)
            referenced = source.snapshot() if isinstance(source, Tracker) else ()
            return result._replace(referenced=referenced, header_operations=operations, quotas=granted)

    async def report(self, bags: Sequence[Mapping[str, Any]]) -> None:
        """Telemetry of a batch. Every bag is worked on; raises `mixer.errors.ReportError` with all failures at the end."""
        with self._work(len(bags)) as snapshot:
            failures: list[Note] = []
            warnings: list[Note] = []
            collected: dict[tuple[str, str], tuple[Slot, list[Any]]] = {}
            for rules, group in self._by_rules(snapshot, bags, failures):
                if rules.report is None:
                    continue
                rows = [collected.setdefault((slot.handler.name, slot.instance.name), (slot, []))[1] for slot in rules.report.slots]
                program = rules.report.program
                run = program.run if all(type(bag) is dict for bag in group) else program.run_tracked
                run(group, rows, failures, warnings)
            self._warn(snapshot, warnings)
            texts = [f"{label}: {error}{f' ({count} times)' if count > 1 else ''}" for (label, error), count in _counted(failures)]
            await self._calls.report(collected.values(), texts)
            if texts:
                raise ReportError(texts[:MAX_FAILURES])

    async def replace(self, snapshot: Snapshot) -> None:
        """Make `snapshot` the current one at once; then close the handlers that it does not keep, when their last call has ended."""
        old, self._snapshot = self._snapshot, snapshot
        self._account(old, snapshot)
        kept = set(map(id, (built.handler for built in snapshot.handlers.values())))
        gone = [built for built in old.handlers.values() if id(built.handler) not in kept]
        if not gone:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_AFTER):
                while any(number <= old.id for number in self._users):
                    self._released.clear()
                    await self._released.wait()
        failed = 0
        for built in gone:
            try:
                await built.handler.close()
            except Exception:
                failed += 1
                log.exception("a handler could not be closed", handler=built.name, adapter=built.adapter)
        self.metrics.closed_handlers.set(len(gone) - failed)
        self.metrics.close_failures.set(failed)

    @contextlib.contextmanager
    def _work(self, cost: int) -> Iterator[Snapshot]:
        """Admission, latency and the count of calls in flight."""
        began = self._clock()
        if self._sheds:
            try:
                self._shedder.admit(cost, began)
            finally:
                self.metrics.shed.set(self._shedder.shed)
        snapshot = self._snapshot
        self._users[snapshot.id] += 1
        try:
            yield snapshot
        finally:
            self._users[snapshot.id] -= 1
            if not self._users[snapshot.id]:
                del self._users[snapshot.id]
                self._released.set()
            if self._sheds:
                now = self._clock()
                self._shedder.observe(now - began, now)

    def _run(self, program: Program, source: Any, failures: list[str]) -> list[list[Any]]:
        rows: list[list[Any]] = [[] for _ in range(program.slots)]
        notes: list[Note] = []
        warnings: list[Note] = []
        run = program.run if type(source) is dict else program.run_tracked
        run([source], rows, notes, warnings)
        failures += (f"{label}: {error}" for label, error in notes)
        if warnings:
            self._warn(self._snapshot, warnings)
        return rows

    def _header_operations(self, directives: Directives, source: Any) -> tuple[HeaderOperation, ...]:
        """Header operations in rule order. One whose value fails or is empty is left out."""
        skipped: list[str] = []
        rows = self._run(directives.program, source, skipped)
        return tuple(
            HeaderOperation(slot.name, row[0], slot.operation, slot.response)
            for slot, collected in zip(directives.slots, rows, strict=True)
            for row in collected
            if row[0] or slot.operation is Operation.REMOVE
        )

    async def _quota(self, snapshot: Snapshot, bag: Mapping[str, Any], name: str, request: QuotaRequest, track: bool) -> QuotaResult:
        """One quota. What is not configured, or whose rules do not apply, is granted in full; an adapter's failure grants nothing."""
        source = Tracker(bag) if track else bag
        full = QuotaResult(request.amount, DEFAULT_VALID_DURATION)
        table = snapshot.rules_for(source).quotas.get(name.lower())
        if table is None:
            self._warn_once(snapshot, f"Requested quota '{name}' is not configured")
        else:
            failures: list[str] = []
            rows = self._run(table.program, source, failures)
            calls = [(slot, row) for slot, collected in zip(table.slots, rows, strict=True) for row in collected]
            if len(calls) > 1:
                self._warn_once(snapshot, f"quota '{name}' is answered by more than one rule; the first counts")
            allocation = await self._calls.allocate(*calls[0], request, failures) if calls else None
            if failures:
                log.warning("a quota could not be allocated", quota=name, reason="; ".join(failures))
                full = QuotaResult(0, 0.0)
            elif allocation is not None:
                full = QuotaResult(allocation.granted, allocation.valid_duration)
        return full._replace(referenced=source.snapshot()) if isinstance(source, Tracker) else full

    @staticmethod
    def _by_rules(
        snapshot: Snapshot, bags: Sequence[Mapping[str, Any]], failures: list[Note]
    ) -> Iterator[tuple[NamespaceRules, list[Mapping[str, Any]]]]:
        groups: dict[int, tuple[NamespaceRules, list[Mapping[str, Any]]]] = {}
        for bag in bags:
            try:
                rules = snapshot.rules_for(bag)
            except Exception as error:
                failures.append(("attributes", error))
                continue
            groups.setdefault(id(rules), (rules, []))[1].append(bag)
        yield from groups.values()

    def _warn(self, snapshot: Snapshot, warnings: Sequence[Note]) -> None:
        for label, error in warnings:
            self._warn_once(snapshot, f"the match of {label} failed and counts as false: {error}")

    def _warn_once(self, snapshot: Snapshot, text: str) -> None:
        """A mistake of configuration shows on every request; the log needs it once per snapshot."""
        if (snapshot.id, text) not in self._warned and len(self._warned) < 1000:
            self._warned.add((snapshot.id, text))
            log.warning(text)

    def _account(self, old: Snapshot, new: Snapshot) -> None:
        self._warned.clear()
        metrics = self.metrics
        reused = sum(old.handlers.get(name) is built for name, built in new.handlers.items())
        metrics.attributes.set(len(new.vocabulary))
        for kind, configured, mistakes in (
            (HANDLER, metrics.handler_configs, metrics.handler_errors),
            (INSTANCE, metrics.instance_configs, metrics.instance_errors),
            (RULE, metrics.rule_configs, metrics.rule_errors),
        ):
            configured.set(new.counts.get(kind.collection, 0))
            mistakes.set(new.mistakes_in(kind.collection))
        metrics.reused_handlers.set(reused)
        metrics.new_handlers.set(len(new.handlers) - reused)
        tables = (new.default, *new.namespaces.values())
        metrics.destinations.set(sum(len(rules.check.slots) for rules in tables if rules.check), "CHECK")
        metrics.destinations.set(sum(len(rules.report.slots) for rules in tables if rules.report), "REPORT")
        metrics.destinations.set(sum(len(table.slots) for rules in tables for table in rules.quotas.values()), "QUOTA")


def _counted(failures: Sequence[Note]) -> list[tuple[tuple[str, str], int]]:
    return Counter((label, str(error)) for label, error in failures).most_common()
