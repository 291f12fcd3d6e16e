# SPDX-License-Identifier: Apache-2.0
"""Leases of registered workloads: who is alive and healthy right now. A state machine that is told the time, without I/O.

A workload is *visible* (discoverable) while its lease runs and it says that it is healthy. It becomes invisible in the very call in which it
says otherwise, or at the first `expire` after its lease ran out.
"""

from __future__ import annotations

import secrets
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

    @property
    def place(self) -> Place:
        return (self.namespace, self.name)


@dataclass(frozen=True, slots=True)
class Visible:
    """A workload that others may use. `serial` is different for each state that was ever visible in this run."""

    workload: Registered
    serial: int


class HeldByAnotherError(Exception):
    """The name is leased to another service account of the namespace."""


class Leases:
    """All leases of one Galley. `dirty` names the places whose rows must be written; whoever persists takes and clears it."""

    def __init__(self, clock: Callable[[], float], *, lease: float = LEASE_SECONDS, grace: float = GRACE_SECONDS) -> None:
        """`clock` is monotonic, in seconds."""
        self._clock, self._lease, self._grace = clock, lease, grace
        self._known: dict[Place, Registered] = {}
        self._deadline: dict[Place, float] = {}
        self._by_lease: dict[str, Place] = {}
        self._visible: dict[Place, Visible] = {}
        self.serial = 0
        """Grows with every change of the visible set."""
        self.dirty: set[Place] = set()

    @property
    def visible(self) -> Mapping[Place, Visible]:
        return MappingProxyType(self._visible)

    @property
    def known(self) -> Mapping[Place, Registered]:
        """All leased workloads, healthy or not."""
        return MappingProxyType(self._known)

    def restore(self, workloads: Iterable[Registered]) -> None:
        """Take up the leases of the run before."""
        for workload in workloads:
            self._keep(workload, self._clock() + self._grace)

    def register(self, *, namespace: str, name: str, spec: WorkloadEntry, healthy: bool, at: str) -> Registered:
        """Begin a lease, ending an earlier one of the same name: an agent that was restarted takes its place over.

        Raises HeldByAnotherError when that one belongs to another service account and still runs.
        """
        self.expire()
        before = self._known.get((namespace, name))
        if before is not None:
            if before.spec.serviceAccount != spec.serviceAccount:
                raise HeldByAnotherError(before.spec.serviceAccount)
            del self._by_lease[before.lease]
        workload = Registered(namespace=namespace, name=name, spec=spec, lease=secrets.token_urlsafe(18), healthy=healthy, registered_at=at)
        self._keep(workload, self._clock() + self._lease)
        self.dirty.add(workload.place)
        return workload

    def find(self, lease: str) -> Registered | None:
        """The workload of a running lease."""
        self.expire()
        place = self._by_lease.get(lease)
        return self._known[place] if place is not None else None

    def heartbeat(self, lease: str, *, healthy: bool) -> bool:
        """Prolong a lease and take the workload's health. False when the lease is over or unknown."""
        workload = self.find(lease)
        if workload is None:
            return False
        if workload.healthy != healthy:
            self.dirty.add(workload.place)
            workload = replace(workload, healthy=healthy)
        self._keep(workload, self._clock() + self._lease)
        return True

    def deregister(self, lease: str) -> bool:
        """End a lease. False when there is none."""
        place = self._by_lease.get(lease)
        if place is None:
            return False
        self._forget(place)
        return True

    def expire(self) -> list[Registered]:
        """Forget the leases that ran out, and say which."""
        now = self._clock()
        over = [self._known[place] for place, deadline in self._deadline.items() if deadline <= now]
        for workload in over:
            self._forget(workload.place)
        return over

    def next_deadline(self) -> float | None:
        """When `expire` should be called next, on the clock; None while there is no lease."""
        return min(self._deadline.values(), default=None)

    def _keep(self, workload: Registered, deadline: float) -> None:
        place = workload.place
        self._known[place], self._deadline[place], self._by_lease[workload.lease] = workload, deadline, place
        shown = self._visible.get(place)
        if not workload.healthy:
            if shown is not None:
                self.serial += 1
                del self._visible[place]
        elif shown is None or shown.workload.spec != workload.spec:
            self.serial += 1
            self._visible[place] = Visible(workload, self.serial)

    def _forget(self, place: Place) -> None:
        workload = self._known.pop(place)
        del self._deadline[place], self._by_lease[workload.lease]
        self.dirty.add(place)
        if self._visible.pop(place, None) is not None:
            self.serial += 1
