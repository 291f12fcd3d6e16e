# SPDX-License-Identifier: Apache-2.0
"""What a consumer of configuration sees: changes of collections, whoever brings them (a gRPC stream, or Galley in the same process)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from common.config.resource import Resource


@dataclass(frozen=True, slots=True, kw_only=True)
class Skipped:
    """An object that this version cannot read. The rest of its collection is applied; this one keeps its last good form, if it had one."""

    mcp_name: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One accepted step of one collection, relative to what the consumer was told before.

    `full`: `upserts` is the whole collection and replaces it (`removed` then still lists what went, for those who keep an index).
    Not full: add or replace `upserts`, forget `removed`. `version` is Galley's persisted `collection/revision`.
    `traceparent` is that of the newest revision in the step (W3C form, empty when unknown): start your span with it.
    """

    collection: str
    version: str
    upserts: tuple[Resource[Any], ...] = ()
    removed: tuple[str, ...] = ()
    full: bool = False
    traceparent: str = ""
    skipped: tuple[Skipped, ...] = ()


class Rejected(Exception):
    """Raised by `on_change` to refuse a change: the source is told (NACK) and the consumer stays as it was. The message goes to Galley."""


OnChange = Callable[[Change], Awaitable[None]]


class ConfigSource(Protocol):
    """Where a part's configuration comes from. Split or merged, a part is handed one of these and cannot tell which."""

    async def run(self, *, node_id: str, collections: Sequence[str], on_change: OnChange, stopping: asyncio.Event) -> None:
        """Deliver changes, one at a time, until `stopping` is set. Reconnects with jitter by itself and never raises for a lost source.

        Each collection gets one change (perhaps empty, `full`) as soon as the source answers: when all have come, the part is synced.
        """
        ...
