# SPDX-License-Identifier: Apache-2.0
"""How far configuration has come: for each object the proxies that use it, and those among them that have acknowledged it.

A proxy has an object when it has acknowledged everything of a snapshot that holds the object's present version; it uses the object when
one of its Envoy resources was made of it. Kinds that shape resources without being named in them (mesh settings, policies) are
taken to be used by every proxy.

Proxies mostly have the same views, so what a view is made of is worked out once for all of them, as bits of a number.
"""

from __future__ import annotations

import asyncio
import enum
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from typing import Final, NamedTuple

from common.config.kinds.core import SERVICE
from common.config.kinds.networking import DESTINATION_RULE, GATEWAY, SERVICE_ENTRY, VIRTUAL_SERVICE
from common.config.resource import ResourceKey
from common.registration.reporter import Verdict
from pilot.api.connection import Connection
from pilot.api.discovery import Discovery
from pilot.api.reports import Report
from pilot.registry.workloads import REGISTERED_ANNOTATION
from pilot.xds.views import Group, View

PROGRAMMED: Final = "Programmed"
PACE = 0.25  # seconds between two looks at objects on their way
CROWD = 2.0  # seconds without a proxy that comes or goes, after which the counts of all objects are renewed

NAMED = frozenset(kind.collection for kind in (SERVICE, SERVICE_ENTRY, VIRTUAL_SERVICE, DESTINATION_RULE, GATEWAY))
"""Kinds that every resource made of them names as its source."""


class Standing(enum.StrEnum):
    """Of one proxy towards one object."""

    ACKED = "ACKED"
    PENDING = "PENDING"
    REJECTED = "REJECTED"


class Counts(NamedTuple):
    """Of one object: proxies that use it, that have acknowledged its present version, that refuse a part of it."""

    using: int
    acked: int
    rejected: int


class _Uses:
    """Which of some objects a view is made of, as bits. Good for one moment: sources of a resource may change with its content the same."""

    def __init__(self, discovery: Discovery, keys: Collection[ResourceKey]) -> None:
        self._discovery = discovery
        self.bits = {key: 1 << place for place, key in enumerate(keys)}
        self._everywhere = sum(bit for key, bit in self.bits.items() if key.collection not in NAMED)
        self._groups: dict[int, int] = {}
        self._views: dict[int, tuple[View, int]] = {}

    def of(self, connection: Connection) -> int:
        """Objects that the proxy uses, or did until the change that it has not acknowledged yet."""
        found = self._everywhere
        epoch = self._discovery.epoch
        for type_url, names in connection.stream.wanted():
            subscription = connection.stream.subscriptions[type_url]
            target = subscription.target
            if target is None and epoch is not None:
                target = epoch.view(connection.stream.proxy, type_url, names)
            for view in (target, subscription.acked_view if subscription.acked_view is not target else None):
                if view is not None:
                    found |= self._view(view)
        return found

    def refused_by(self, connection: Connection) -> int:
        found = 0
        for subscription in connection.stream.subscriptions.values():
            if subscription.trouble is not None:
                for refusal in subscription.trouble.held.values():
                    for source in connection.blamed(refusal):
                        found |= self.bits.get(source, 0)
        return found

    def _view(self, view: View) -> int:
        known = self._views.get(id(view))
        if known is None:
            found = 0
            for group in view.groups:
                found |= self._group(group)
            known = self._views[id(view)] = (view, found)
        return known[1]

    def _group(self, group: Group) -> int:
        known = self._groups.get(id(group))
        if known is None:
            sources = group.sources
            shorter = self.bits.keys() & sources if len(sources) < len(self.bits) else [key for key in self.bits if key in sources]
            known = self._groups[id(group)] = sum(self.bits[key] for key in shorter)
        return known


def count(discovery: Discovery, keys: Collection[ResourceKey]) -> dict[ResourceKey, Counts]:
    """The counts of these objects now."""
    uses = _Uses(discovery, keys)
    alike: Counter[tuple[int, int, int]] = Counter()
    for connection in discovery.connections.values():
        alike[uses.of(connection), uses.refused_by(connection), connection.stream.converged] += 1
    found = {}
    for key, bit in uses.bits.items():
        since = discovery.since(key)
        using = acked = rejected = 0
        for (used, refused, converged), proxies in alike.items():
            if used & bit:
                using += proxies
                if refused & bit:
                    rejected += proxies
                elif converged >= since:
                    acked += proxies
        found[key] = Counts(using, acked, rejected)
    return found


def standings(discovery: Discovery, key: ResourceKey, connections: Iterable[Connection]) -> Iterator[tuple[Connection, Standing]]:
    """Of those among `connections` that use the object."""
    uses = _Uses(discovery, (key,))
    for connection in connections:
        if uses.of(connection):
            if uses.refused_by(connection):
                yield connection, Standing.REJECTED
            else:
                yield connection, Standing.ACKED if connection.stream.converged >= discovery.since(key) else Standing.PENDING


class Distribution:
    """Tells Galley the condition `Programmed` of objects that changed, until they have arrived, and of all when proxies come or go."""

    def __init__(self, discovery: Discovery, report: Report, *, crowd: float = CROWD) -> None:
        """`crowd` is in seconds; see CROWD."""
        self._discovery, self._report, self._quiet = discovery, report, crowd
        self._moving: set[ResourceKey] = set()
        self._told: dict[ResourceKey, tuple[str, Counts]] = {}
        self._crowd: frozenset[str] = frozenset()
        self._crowd_since: float | None = None
        self._wake = asyncio.Event()

    def changed(self, keys: Iterable[ResourceKey]) -> None:
        """These objects changed, or somebody refuses them."""
        self._moving.update(keys)
        self._wake.set()

    async def run(self) -> None:
        """Look, tell and look again until cancelled. Without a change and without a proxy that comes or goes nothing is done."""
        loop = asyncio.get_running_loop()
        while True:
            if not self._moving:
                try:
                    async with asyncio.timeout(self._quiet):
                        await self._wake.wait()
                except TimeoutError:
                    pass
            else:
                await asyncio.sleep(PACE)
            self._wake.clear()
            self._watch_crowd(loop.time())
            if self._moving and self._discovery.epoch is not None:
                self._look()

    def _watch_crowd(self, now: float) -> None:
        crowd = frozenset(self._discovery.connections)
        if crowd != self._crowd:
            self._crowd, self._crowd_since = crowd, now
        elif self._crowd_since is not None and now - self._crowd_since >= self._quiet and self._discovery.epoch is not None:
            self._crowd_since = None
            resources = self._discovery.epoch.push.resources
            self._moving.update(
                resource.key
                for named in resources.values()
                for resource in named.values()
                if REGISTERED_ANNOTATION not in resource.metadata.annotations
            )

    def _look(self) -> None:
        moving, self._moving = self._moving, set()
        for key, counts in count(self._discovery, moving).items():
            version = self._discovery.version_of(key)
            if version is None:
                self._told.pop(key, None)
                continue
            if counts.acked + counts.rejected < counts.using:
                self._moving.add(key)
            if self._told.get(key) != (version, counts):
                self._told[key] = (version, counts)
                verdict, reason = _verdict(counts)
                message = f"{counts.acked}/{counts.using} proxies" if counts.using else "no connected proxy uses it"
                self._report(key, resource_version=version, type=PROGRAMMED, verdict=verdict, reason=reason, message=message)


def _verdict(counts: Counts) -> tuple[Verdict, str]:
    if counts.rejected:
        return Verdict.FALSE, "RejectedByEnvoy"
    if not counts.using:
        return Verdict.UNKNOWN, "NotUsed"
    return (Verdict.TRUE, "AcceptedByEnvoy") if counts.acked == counts.using else (Verdict.UNKNOWN, "Pending")
