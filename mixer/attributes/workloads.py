# SPDX-License-Identifier: Apache-2.0
"""What is known about workloads, from WorkloadEntries: the attributes that Istio 1.4's `kubernetesenv` adapter looked up in Kubernetes.

Attributes are made once for each entry and side. They are shared: copy them into a bag, do not change them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from ipaddress import ip_address
from types import MappingProxyType
from typing import Any

from common.config.kinds.service_entry import WorkloadEntry
from common.config.resource import Resource, ResourceKey
from common.expression.values import mapped


class Workload:
    """One instance. Its entry's name is both its own and its workload's: there is no controller above it on a machine without Kubernetes."""

    __slots__ = ("destination", "name", "namespace", "service_account", "source")

    def __init__(self, resource: Resource[WorkloadEntry]) -> None:
        self.name, self.namespace = resource.name, resource.namespace
        self.service_account = resource.spec.serviceAccount or "default"
        self.source = self._attributes("source", resource)
        self.destination = self._attributes("destination", resource)

    @property
    def uid(self) -> str:
        """`kubernetes://name.namespace`: the form of Istio's proxies, which know no other."""
        return f"kubernetes://{self.name}.{self.namespace}"

    def _attributes(self, side: str, resource: Resource[WorkloadEntry]) -> Mapping[str, Any]:
        values = {
            "uid": self.uid,
            "name": self.name,
            "namespace": self.namespace,
            "labels": MappingProxyType(dict(resource.spec.labels)),
            "serviceAccount": self.service_account,
            "workload.uid": f"istio://{self.namespace}/workloads/{self.name}",
            "workload.name": self.name,
            "workload.namespace": self.namespace,
        }
        return MappingProxyType({f"{side}.{name}": value for name, value in values.items()})


class WorkloadIndex:
    """Workloads by name, by address and by account.

    One that left is remembered by name and address for `linger` seconds: the reports of its last requests are still on their way.
    """

    def __init__(
        self, resources: Iterable[Resource[WorkloadEntry]] = (), *, linger: float = 0.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._linger, self._clock = linger, clock
        self._left: dict[ResourceKey, tuple[Resource[WorkloadEntry], float]] = {}
        self._live: dict[ResourceKey, Resource[WorkloadEntry]] = {}
        self._by_name: dict[tuple[str, str], Workload] = {}
        self._by_address: dict[bytes, Workload] = {}
        self._by_account: dict[tuple[str, str], Workload | None] = {}
        self.replace(resources)

    def replace(self, resources: Iterable[Resource[WorkloadEntry]]) -> None:
        """Take this whole collection. Of several at one address the first by namespace and name counts, the living before those that left."""
        now = self._clock()
        live = {resource.key: resource for resource in sorted(resources, key=lambda each: each.key)}
        self._left |= {key: (resource, now + self._linger) for key, resource in self._live.items()}
        self._left = {key: left for key, left in self._left.items() if key not in live and left[1] > now}
        self._live = live

        self._by_name, self._by_address, self._by_account = {}, {}, {}
        for resource in live.values():
            workload = self._add(resource)
            account = (workload.namespace, workload.service_account)
            self._by_account[account] = None if account in self._by_account else workload
        for resource, _ in self._left.values():
            self._add(resource)

    def _add(self, resource: Resource[WorkloadEntry]) -> Workload:
        workload = Workload(resource)
        self._by_name.setdefault((workload.namespace, workload.name), workload)
        address = _octets(resource.spec.address)
        if address is not None:
            self._by_address.setdefault(address, workload)
        return workload

    def __len__(self) -> int:
        return len(self._live)

    def at(self, address: bytes) -> Workload | None:
        """The workload at an address of 4 or 16 octets."""
        return self._by_address.get(mapped(address))

    def of_account(self, namespace: str, service_account: str) -> Workload | None:
        """The workload that alone runs under a service account; None when there are several or none."""
        return self._by_account.get((namespace, service_account))

    def of_uid(self, uid: str) -> Workload | None:
        """By `kubernetes://name.namespace`, split at the last dot."""
        name, _, namespace = uid.removeprefix("kubernetes://").rpartition(".")
        return self._by_name.get((namespace, name))


def _octets(address: str) -> bytes | None:
    try:
        return mapped(ip_address(address).packed)
    except ValueError:
        return None  # a DNS name or a Unix socket
