# SPDX-License-Identifier: Apache-2.0
"""WorkloadEntries of one namespace, found by label. Both kinds of service select them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from common.config.kinds.networking import WorkloadEntry
from common.config.resource import Resource, ResourceKey
from pilot.model.digest import combine, value_digest
from pilot.model.labels import selects
from pilot.model.service import Endpoint, Port, Service

REGISTERED_ANNOTATION = "fourmast.io/registered"
"""Set by Galley on a workload whose agent registered it: there is a sidecar in front."""
TLS_MODE_LABEL = "security.istio.io/tlsMode"
LOCALITY_LABEL = "istio-locality"


@dataclass(frozen=True, slots=True, eq=False)
class Workload:
    """One running instance."""

    key: ResourceKey
    address: str
    ports: Mapping[str, int]
    labels: Mapping[str, str]
    locality: str
    network: str
    weight: int
    account: str
    has_sidecar: bool
    digest: bytes

    @classmethod
    def of(cls, resource: Resource[WorkloadEntry], digest: bytes, *, trust_domain: str) -> Workload:
        spec = resource.spec
        labels = spec.labels or resource.metadata.labels
        return cls(
            key=resource.key,
            address=spec.address,
            ports=spec.ports,
            labels=labels,
            locality=locality(spec.locality, labels),
            network=spec.network,
            weight=spec.weight or 1,
            account=spiffe_id(trust_domain, resource.namespace, spec.serviceAccount),
            has_sidecar=resource.metadata.annotations.get(REGISTERED_ANNOTATION) == "true" or accepts_mtls(labels),
            digest=digest,
        )

    def port(self, port: Port) -> int:
        """Where this workload receives a service's port: by the port's name, by the named target, else the numeric target or the same number."""
        if (named := self.ports.get(port.name)) is not None:
            return named
        if isinstance(port.target_port, str):
            return self.ports.get(port.target_port, port.number)
        return port.target_port or port.number

    def endpoint(self, service: Service) -> Endpoint:
        return Endpoint(
            address=self.address,
            ports={port.number: self.port(port) for port in service.ports},
            labels=self.labels,
            locality=self.locality,
            network=self.network,
            weight=self.weight,
            namespace=self.key.namespace,
            account=self.account,
            has_sidecar=self.has_sidecar,
            workload=self.key.name,
            source=self.key,
        )


def spiffe_id(trust_domain: str, namespace: str, account: str) -> str:
    return f"spiffe://{trust_domain}/ns/{namespace}/sa/{account}" if account else ""


def accepts_mtls(labels: Mapping[str, str]) -> bool:
    """Istio's own mark of an endpoint that understands mutual TLS."""
    return labels.get(TLS_MODE_LABEL) == "istio"


def locality(declared: str, labels: Mapping[str, str]) -> str:
    """The label wins over the registry; dots stand for slashes there, because a label's value may hold no slash."""
    label = labels.get(LOCALITY_LABEL, "")
    return (label if "/" in label else label.replace(".", "/")) or declared


class WorkloadIndex:
    """The workloads of one namespace. Compare by `digest`."""

    def __init__(self, workloads: Iterable[Workload]):
        self.all = tuple(sorted(workloads, key=lambda workload: workload.key))
        self.digest = combine(workload.digest for workload in self.all)
        self._by_pair: dict[tuple[str, str], list[Workload]] = {}
        self._by_address: dict[str, Workload] = {}
        for workload in self.all:
            self._by_address.setdefault(workload.address, workload)
            for pair in workload.labels.items():
                self._by_pair.setdefault(pair, []).append(workload)
        self.targets_digest = value_digest([(workload.address, workload.ports) for workload in self.all if workload.ports])
        """Of what `at` tells beyond what a service says itself: where a workload receives the ports that it names."""

    def select(self, selector: Mapping[str, str]) -> list[Workload]:
        """Workloads with every label of `selector`; an empty selector selects none here, as in Kubernetes."""
        if not selector:
            return []
        candidates = min((self._by_pair.get(pair, []) for pair in selector.items()), key=len)
        return [workload for workload in candidates if selects(selector, workload.labels)]

    def at(self, address: str) -> Workload | None:
        return self._by_address.get(address)


NO_WORKLOADS = WorkloadIndex(())
