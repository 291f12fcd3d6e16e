# SPDX-License-Identifier: Apache-2.0
"""Leases of registered workloads: who is alive and healthy right now. A state machine that is told the time, without I/O.

A workload is *visible* (discoverable) while its lease runs and it says that it is healthy. It becomes invisible in the very call in which it
says otherwise, or at the first `expire` after its lease ran out.

Several Galleys may share a table of leases. Each lease is then *held* by one of them, the one that hears its heartbeats and minds its
deadline; the others show the workload and wait to be told. A heartbeat for a lease that somebody else holds takes it over.
"""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from common.config.kinds.networking import WorkloadEntry
from galley.store.model import Place

LEASE_SECONDS = 5.0
GRACE_SECONDS = 10.0
"""After Galley's own restart nobody could send a heartbeat, so known leases run this long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Registered:
    """One registered workload. `spec.serviceAccount` and the namespace come from its certificate."""

    namespace: str
    name: str
    spec: WorkloadEntry
    lease: str
    healthy: bool
    registered_at: str
    proxy_version: str = ""
    """As its agent says; empty when it does not."""

    @property
    def place(self) -> Place:
        return (self.namespace, self.name)


@dataclass(frozen=True, slots=True)
class Visible:
    """A workload that others may use. `serial` is different for each state that was ever visible in this run."""

    workload: Registered
    serial: int


@dataclass(frozen=True, slots=True)
class Ended:
    """A lease whose row must go. When it only ran out here, another Galley may have heard a heartbeat: then its row stays."""

    lease: str
    ran_out: bool


MOST_OF_AN_ACCOUNT = 5_000
"""Workloads under one service account: whoever has its certificate must not fill Galley, and everybody's endpoints, with names."""


class TooManyError(Exception):
    """The service account has as many leases as one may have."""


class HeldByAnotherError(Exception):
    """The name is leased to another service account of the namespace."""


class Leases:
    """All leases that one Galley knows. `dirty` says which rows must be written (None) or removed; whoever persists takes and clears it."""

    def __init__(self, clock: Callable[[], float], *, lease: float = LEASE_SECONDS, grace: float = GRACE_SECONDS) -> None:
        """`clock` is monotonic, in seconds."""
        self._clock, self._lease, self._grace = clock, lease, grace
        self._known: dict[Place, Registered] = {}
        self._deadline: dict[Place, float] = {}  # only of those that we hold
        self._by_lease: dict[str, Place] = {}
        self._of_account: Counter[tuple[str, str]] = Counter()
        self._visible: dict[Place, Visible] = {}
        self.serial = 0
        """Grows with every change of the visible set."""
        self.dirty: dict[Place, Ended | None] = {}

    @property
    def visible(self) -> Mapping[Place, Visible]:
        return MappingProxyType(self._visible)

    @property
    def known(self) -> Mapping[Place, Registered]:
        """All leased workloads, healthy or not."""
        return MappingProxyType(self._known)

    def now(self) -> float:
        return self._clock()

    def restore(self, workloads: Iterable[Registered]) -> None:
        """Take up the leases of the run before."""
        for workload in workloads:
            self._keep(workload, self._clock() + self._grace)

    def observe(self, table: Iterable[tuple[Registered, bool]]) -> None:
        """What the shared table says now, each row with whether we hold it. What we have still to write ourselves is newer, and stays.

        A row of ours that we did not mind yet comes from a Galley that died: nobody could beat meanwhile, so it runs for the grace.
        """
        seen: set[Place] = set()
        for workload, ours in table:
            place = workload.place
            seen.add(place)
            known = self._known.get(place)
            minded = place in self._deadline and known is not None and known.lease == workload.lease
            if place not in self.dirty and not (ours and minded):
                self._keep(workload, self._clock() + self._grace if ours else None)
        for place in self._known.keys() - seen - self.dirty.keys():
            self._drop(place)

    def register(self, *, namespace: str, name: str, spec: WorkloadEntry, healthy: bool, at: str, proxy_version: str = "") -> Registered:
        """Begin a lease, ending an earlier one of the same name: an agent that was restarted takes its place over.

        Raises HeldByAnotherError when that one belongs to another service account and still runs, TooManyError when the account has its fill.
        """
        self.expire()
        before = self._known.get((namespace, name))
        if before is not None and before.spec.serviceAccount != spec.serviceAccount:
            raise HeldByAnotherError(before.spec.serviceAccount)
        if before is None and self._of_account[namespace, spec.serviceAccount] >= MOST_OF_AN_ACCOUNT:
            raise TooManyError(
                f"service account {spec.serviceAccount} has {MOST_OF_AN_ACCOUNT} registered workloads, and may not have more"
            )
        workload = Registered(
            namespace=namespace,
            name=name,
            spec=spec,
            lease=secrets.token_urlsafe(18),
            healthy=healthy,
            registered_at=at,
            proxy_version=proxy_version,
        )
        self._keep(workload, self._clock() + self._lease)
        self.dirty[workload.place] = None
        return workload

    def find(self, lease: str) -> Registered | None:
        """The workload of a running lease."""
        self.expire()
        place = self._by_lease.get(lease)
        return self._known[place] if place is not None else None

    def heartbeat(self, lease: str, *, healthy: bool) -> bool:
        """Prolong a lease (whoever held it) and take the workload's health. False when the lease is over or unknown."""
        workload = self.find(lease)
        if workload is None:
            return False
        if workload.healthy != healthy or workload.place not in self._deadline:
            self.dirty[workload.place] = None
            workload = replace(workload, healthy=healthy)
        self._keep(workload, self._clock() + self._lease)
        return True

    def deregister(self, lease: str) -> bool:
        """End a lease. False when there is none."""
        place = self._by_lease.get(lease)
        if place is None:
            return False
        self._end(place, ran_out=False)
        return True

    def expire(self) -> list[Registered]:
        """Forget the leases that ran out, and say which."""
        now = self._clock()
        over = [self._known[place] for place, deadline in self._deadline.items() if deadline <= now]
        for workload in over:
            self._end(workload.place, ran_out=True)
        return over

    def next_deadline(self) -> float | None:
        """When `expire` should be called next, on the clock; None while there is no lease."""
        return min(self._deadline.values(), default=None)

    def _keep(self, workload: Registered, deadline: float | None) -> None:
        """Know this state of a workload; without a deadline another Galley holds it."""
        place = workload.place
        before = self._known.get(place)
        if before is not None:
            self._by_lease.pop(before.lease, None)
            self._count(before, -1)
        self._count(workload, 1)
        self._known[place], self._by_lease[workload.lease] = workload, place
        if deadline is None:
            self._deadline.pop(place, None)
        else:
            self._deadline[place] = deadline
        shown = self._visible.get(place)
        if not workload.healthy:
            if shown is not None:
                self.serial += 1
                del self._visible[place]
        elif shown is None or _shown(shown.workload) != _shown(workload):
            self.serial += 1
            self._visible[place] = Visible(workload, self.serial)

    def _end(self, place: Place, *, ran_out: bool) -> None:
        self.dirty[place] = Ended(self._known[place].lease, ran_out)
        self._drop(place)

    def _drop(self, place: Place) -> None:
        workload = self._known.pop(place)
        self._deadline.pop(place, None)
        del self._by_lease[workload.lease]
        self._count(workload, -1)
        if self._visible.pop(place, None) is not None:
            self.serial += 1

    def _count(self, workload: Registered, by: int) -> None:
        account = (workload.namespace, workload.spec.serviceAccount)
        self._of_account[account] += by
        if not self._of_account[account]:
            del self._of_account[account]


def _shown(workload: Registered) -> tuple[WorkloadEntry, str]:
    """What others see of it: when this changes, they are told."""
    return workload.spec, workload.proxy_version
