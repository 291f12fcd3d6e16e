# SPDX-License-Identifier: Apache-2.0
"""Calling handlers: all at once, each through its bulkhead, each accounted for. A failure is a text in `failures` and stops nobody else."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from mixer.adapters.contract import Allocation, Batch, Verdict
from mixer.dispatch.result import QuotaRequest
from mixer.errors import AdapterError
from mixer.metrics import MixerMetrics
from mixer.rules.snapshot import BuiltHandler, Slot


class Calls:
    def __init__(self, metrics: MixerMetrics, clock: Callable[[], float]) -> None:
        self._metrics, self._clock = metrics, clock

    async def check(self, calls: Iterable[tuple[Slot, tuple[Any, ...]]], failures: list[str]) -> list[tuple[str, Verdict]]:
        """Ask every handler. Verdicts are in the order of `calls`."""
        answers: list[Any] = []
        handlers: list[BuiltHandler] = []
        for (handler, instance), row in calls:
            handlers.append(handler)
            answers.append(self._start(handler, instance.template, failures, "check", instance, row))
        verdicts = await self._all(answers)
        return [(handler.short_name, verdict) for handler, verdict in zip(handlers, verdicts, strict=True) if isinstance(verdict, Verdict)]

    async def allocate(self, slot: Slot, row: tuple[Any, ...], request: QuotaRequest, failures: list[str]) -> Allocation | None:
        """Ask one handler for quota; None when it failed."""
        answer = self._start(slot.handler, slot.instance.template, failures, "allocate", slot.instance, row, request)
        (allocation,) = await self._all([answer])
        return allocation if isinstance(allocation, Allocation) else None

    async def report(self, collected: Iterable[tuple[Slot, list[Any]]], failures: list[str]) -> None:
        """Hand every handler all its rows of a template in one call."""
        batches: dict[tuple[str, str], tuple[BuiltHandler, list[Batch]]] = {}
        for (handler, instance), rows in collected:
            if rows:
                batches.setdefault((handler.name, instance.template), (handler, []))[1].append(Batch(instance, rows))
        await self._all([self._start(handler, template, failures, "report", given) for (_, template), (handler, given) in batches.items()])

    def _start(self, built: BuiltHandler, template: str, failures: list[str], method: str, *arguments: Any) -> Any:
        """The answer, or an awaitable of it, or None after a failure."""
        began = self._clock()
        try:
            answer = built.bulkhead.start(getattr(built.handler, method), *arguments)
        except AdapterError as error:
            self._finished(built, template, began, failures, error)
            return None
        if isinstance(answer, Awaitable):
            return self._wait(built, template, began, failures, answer)
        self._finished(built, template, began, failures, None)
        return answer

    async def _wait(self, built: BuiltHandler, template: str, began: float, failures: list[str], answer: Awaitable[Any]) -> Any:
        try:
            result = await answer
        except AdapterError as error:
            self._finished(built, template, began, failures, error)
            return None
        self._finished(built, template, began, failures, None)
        return result

    def _finished(self, built: BuiltHandler, template: str, began: float, failures: list[str], error: AdapterError | None) -> None:
        self._metrics.dispatched(template, built.name, built.adapter, error is not None, self._clock() - began)
        if error is not None:
            failures.append(str(error))

    @staticmethod
    async def _all(answers: list[Any]) -> list[Any]:
        """Wait for what has to be waited for, together."""
        waiting = [(index, answer) for index, answer in enumerate(answers) if isinstance(answer, Awaitable)]
        if waiting:
            for (index, _), result in zip(waiting, await asyncio.gather(*(answer for _, answer in waiting)), strict=True):
                answers[index] = result
        return answers
