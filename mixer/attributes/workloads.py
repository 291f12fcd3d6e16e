# SPDX-License-Identifier: Apache-2.0
"""What is known about workloads, from WorkloadEntries: the attributes that Istio 1.4's `kubernetesenv` adapter looked up in Kubernetes.

Attributes are made once for each entry and side. They are shared: copy them into a bag, do not change them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import ip_address
from types import MappingProxyType
from typing import Any

from common.config.kinds.service_entry import WorkloadEntry
from common.config.resource import Resource
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
    """Workloads by name, by address and by account. Rebuilt by `replace` when the collection changes."""

    def __init__(self, resources: Iterable[Resource[WorkloadEntry]] = ()) -> None:
        self._by_name: dict[tuple[str, str], Workload] = {}
        self._by_address: dict[bytes, Workload] = {}
        self._by_account: dict[tuple[str, str], Workload | None] = {}
        self.replace(resources)

    def replace(self, resources: Iterable[Resource[WorkloadEntry]]) -> None:
        """Forget all and take these. Of several at one address the first by namespace and name counts."""
        by_name: dict[tuple[str, str], Workload] = {}
        by_address: dict[bytes, Workload] = {}
        by_account: dict[tuple[str, str], Workload | None] = {}
        for resource in sorted(resources, key=lambda each: each.key):
            workload = Workload(resource)
            by_name[workload.namespace, workload.name] = workload
            account = (workload.namespace, workload.service_account)
            by_account[account] = None if account in by_account else workload
            address = _octets(resource.spec.address)
            if address is not None:
                by_address.setdefault(address, workload)
        self._by_name, self._by_address, self._by_account = by_name, by_address, by_account

    def __len__(self) -> int:
        return len(self._by_name)

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
