# SPDX-License-Identifier: Apache-2.0
"""What a component is, and what its host lends it while it runs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

import structlog

log = structlog.get_logger("lifecycle")


class Life:
    """One run of a component: its readiness, its wish to stop, and the addresses on which it listens."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.stopping = asyncio.Event()
        self.reason: str | None = "starting"
        """Why the component is not ready; None when it is."""
        self.remark: str | None = None
        """What people should know although the component serves, such as that it works from its last good configuration."""
        self.addresses: dict[str, str] = {}
        """Listener name -> `host:port` as really bound (port 0 is resolved)."""
        self.topics: dict[str, Callable[[], list[dict[str, str]]]] = {}
        """ControlZ topics of this component: their rows, made when somebody looks."""
        self._changed = asyncio.Event()

    @property
    def is_ready(self) -> bool:
        return self.reason is None

    def ready(self) -> None:
        """Say that every listener serves and the first synchronisation is done."""
        if self.reason is not None:
            log.info("ready", component=self.name, **{f"listen_{name}": address for name, address in self.addresses.items()})
        self.reason = None
        self._wake()

    def not_ready(self, reason: str) -> None:
        """Say why traffic should not come here now; `reason` is shown to people by /ready."""
        self.reason = reason
        self._wake()

    def note(self, remark: str | None) -> None:
        """Say what is not as usual while readiness is not at stake; None: nothing."""
        if remark != self.remark:
            if remark is not None:
                log.warning(remark, component=self.name)
            self.remark = remark

    def shows(self, topic: str, rows: Callable[[], list[dict[str, str]]]) -> None:
        """Add a topic to ControlZ: its name is one word, its rows are what a table of it shows."""
        self.topics[topic] = rows

    def listening(self, listener: str, address: str) -> None:
        self.addresses[listener] = address
        self._wake()

    async def until_ready(self) -> None:
        while self.reason is not None:
            await self._changed.wait()

    async def until_changed(self) -> None:
        """Return when readiness or an address changes next."""
        await self._changed.wait()

    def _wake(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()


class Component(Protocol):
    """Something that a host can run. `run` returns after `life.stopping` is set and its `async with` blocks are left: that is its drain."""

    @property
    def name(self) -> str: ...

    async def run(self, life: Life) -> None: ...
