# SPDX-License-Identifier: Apache-2.0
"""Run components in one event loop: in order, each restarted alone, stopped in reverse order with a deadline."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Mapping, Sequence
from typing import Any

import structlog

from common.lifecycle.component import Component, Life

log = structlog.get_logger("lifecycle")

FIRST_DELAY, LAST_DELAY = 0.05, 5.0  # seconds between restarts of a failing component
HEALTHY_AFTER = 30.0  # a run of this many seconds resets the back-off


async def host(
    components: Sequence[Component], lives: Mapping[str, Life] | None = None, *, grace: float = 5.0, stop: asyncio.Event | None = None
) -> None:
    """Run until SIGTERM or SIGINT (or until `stop` is set), then stop the components, last started first.

    `lives` lets a caller share readiness with a health page; `grace` is in seconds and for each component.
    A component that fails is restarted alone with back-off; the others do not notice. A second signal ends at once.
    """
    shared = dict(lives) if lives is not None else {c.name: Life(c.name) for c in components}
    stop = stop or asyncio.Event()
    tasks: list[tuple[Component, asyncio.Task[None]]] = []
    loop = asyncio.get_running_loop()

    def on_signal() -> None:
        if stop.is_set():
            for _, task in tasks:
                task.cancel()
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):  # not in the main thread: the caller owns signals
            loop.add_signal_handler(number, on_signal)

    for component in components:
        tasks.append((component, asyncio.create_task(_keep(component, shared[component.name], stop), name=component.name)))
    fatal: asyncio.Future[list[None]] = asyncio.gather(*(task for _, task in tasks))
    stopped = asyncio.ensure_future(stop.wait())
    try:
        watched: list[asyncio.Future[Any]] = [fatal, stopped]
        await asyncio.wait(watched, return_when=asyncio.FIRST_COMPLETED)
        for component, task in reversed(tasks):
            shared[component.name].stopping.set()
            done, _ = await asyncio.wait([task], timeout=grace)
            if not done:
                log.warning("did not stop in time", component=component.name, grace_seconds=grace)
                task.cancel()
    finally:
        for _, task in tasks:
            task.cancel()
        stopped.cancel()
        results = await asyncio.gather(*(task for _, task in tasks), return_exceptions=True)
        with contextlib.suppress(BaseException):
            await fatal
    for result in results:
        if isinstance(result, Exception):
            raise result


class StartError(Exception):
    """A component cannot start and trying again will not help: a taken port, an unreadable key. The process ends with exit code 1."""


async def _keep(component: Component, life: Life, stop: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    delay = FIRST_DELAY
    while not stop.is_set():
        began = loop.time()
        try:
            await component.run(life)
            return
        except StartError as error:
            life.not_ready(str(error))
            raise
        except Exception as error:
            life.not_ready(f"failed: {error}")
            log.exception("component failed; it is restarted alone", component=component.name, delay_seconds=delay)
        if loop.time() - began > HEALTHY_AFTER:
            delay = FIRST_DELAY
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), delay)
        delay = min(delay * 2, LAST_DELAY)
