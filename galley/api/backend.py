# SPDX-License-Identifier: Apache-2.0
"""What the REST edge works with. It is filled once this Galley holds the writer lock; until then every request is told to come back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from common.config.resource import ResourceKey
from common.mcp.publisher import SinkSync
from galley.analysis import Finding
from galley.errors import UnavailableError
from galley.sources.admission import Admission
from galley.status.reports import Reports
from galley.status.traces import Traces
from galley.store.store import Store
from galley.store.workload_feed import WorkloadFeed
from galley.store.workloads import Workloads


class Findings(Protocol):
    """Results of the analysis that runs beside the writes."""

    def of(self, key: ResourceKey, revision: int) -> Sequence[Finding] | None:
        """About one resource; None when this revision of it was not analysed yet."""
        ...

    def since(self, key: ResourceKey) -> str:
        """When the verdict on one resource last changed (RFC 3339); empty before its first analysis."""
        ...

    def all(self) -> Sequence[Finding]: ...


class SourceStates(Protocol):
    """What the directory source knows of its files."""

    def states(self) -> Sequence[Mapping[str, Any]]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """The rooms that requests reach."""

    store: Store
    admission: Admission
    workloads: Workloads
    workload_feed: WorkloadFeed
    reports: Reports
    findings: Findings
    traces: Traces = field(default_factory=Traces)
    sources: Sequence[SourceStates] = ()
    sinks: Callable[[], Sequence[SinkSync]] = tuple


@dataclass(slots=True)
class Backend:
    """Holder of the parts, so that the listener may open before they are there and stay when they go."""

    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    """Watches end when it is set."""
    parts: Parts | None = None
    reason: str = "this Galley is starting"

    def __call__(self) -> Parts:
        """The parts. Raises UnavailableError while this Galley does not hold the writer lock."""
        if self.parts is None:
            raise UnavailableError(f"{self.reason}; try again in a second")
        return self.parts
