# SPDX-License-Identifier: Apache-2.0
"""The set of resources that is analysed, indexed once for all analysers."""

from __future__ import annotations

import difflib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, Final, NamedTuple, TypeVar, overload

import msgspec

from common.config.kinds.core import Service
from common.config.kinds.destination_rule import DestinationRule
from common.config.kinds.gateway import Gateway
from common.config.kinds.legacy_mixer import LegacyHandler, LegacyInstance
from common.config.kinds.mesh import MeshConfig
from common.config.kinds.mixer import Handler, Instance
from common.config.kinds.service_entry import ServiceEntry, WorkloadEntry
from common.config.resource import Resource, ResourceKey
from common.mesh.names import SERVICE_DOMAIN
from galley.validation import hosts

S = TypeVar("S", bound=msgspec.Struct)
R = TypeVar("R")

Breathe = Callable[[], None]

_BREATH: Final = 8  # resources between two breaths: below a millisecond of work

_REGISTERED: Final = "fourmast.io/registered"
_TLS_MODE: Final = "security.istio.io/tlsMode"
_MOST_HOSTS_TO_COMPARE: Final = 500
_MOST_SUGGESTIONS: Final = 100
"""Comparing spellings is slow; in a mesh of thousands, or where nothing fits, suggestions are left out."""


class ServicePort(NamedTuple):
    number: int
    name: str
    protocol: str


class KnownHost(NamedTuple):
    """One host that a service answers to."""

    host: str
    namespace: str
    is_public: bool
    ports: tuple[ServicePort, ...]
    resource: Resource[Any]


class Paced(Sequence[R]):
    """A sequence that takes a breath now and then while somebody goes through it."""

    def __init__(self, items: Sequence[R], breathe: Breathe) -> None:
        self._items, self._breathe = items, breathe

    def __iter__(self) -> Iterator[R]:
        for number, item in enumerate(self._items):
            if number % _BREATH == _BREATH - 1:
                self._breathe()
            yield item

    def __len__(self) -> int:
        return len(self._items)

    @overload
    def __getitem__(self, index: int) -> R: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[R]: ...
    def __getitem__(self, index: int | slice) -> R | Sequence[R]:
        return self._items[index]


class View:
    """Lookups over one set of resources. Order is that of (kind, namespace, name), so findings come in the same order every time."""

    def __init__(self, resources: Iterable[Resource[Any]], breathe: Breathe = lambda: None, *, control_plane_version: str = "") -> None:
        """`breathe` is called every few resources: where the analysis shares a process with servers, it lets them go first.

        `control_plane_version` is empty where there is no control plane, as in an analysis of files alone.
        """
        self.control_plane_version = control_plane_version
        self._breathe = breathe
        self.resources: Sequence[Resource[Any]] = Paced(sorted(resources, key=lambda resource: resource.key), breathe)
        self._by_spec: dict[type, list[Resource[Any]]] = defaultdict(list)
        for resource in self.resources:
            self._by_spec[type(resource.spec)].append(resource)
        self.mesh = next((found.spec for found in self.of(MeshConfig)), MeshConfig())
        self.hosts: tuple[KnownHost, ...] = tuple(self._known_hosts())
        self._exact_hosts: dict[str, list[KnownHost]] = defaultdict(list)
        for known in self.hosts:
            self._exact_hosts[known.host.lower()].append(known)
        self._gateways = {(gateway.namespace, gateway.name): gateway for gateway in self.of(Gateway)}
        self._mixer = {
            kind: {(found.name, found.namespace) for found in self.of(spec)}
            for kind, spec in (("handler", Handler), ("instance", Instance))
        }
        self._older_mixer = {
            kind: {(found.name, found.kind.name, found.namespace) for found in self.of(spec)}
            for kind, spec in (("handler", LegacyHandler), ("instance", LegacyInstance))
        }
        self._rules_by_host: dict[str, list[Resource[DestinationRule]]] = defaultdict(list)
        self._wild_rules: list[tuple[str, Resource[DestinationRule]]] = []
        for rule in self.of(DestinationRule):
            full = hosts.fully_qualified(rule.spec.host, rule.namespace).lower()
            self._rules_by_host[full].append(rule)
            if full.startswith("*"):
                self._wild_rules.append((full, rule))
        self._wild_hosts = [known for known in self.hosts if known.host.startswith("*")]
        self._workloads: dict[tuple[str | None, str, str], list[Resource[WorkloadEntry]]] = defaultdict(list)
        for workload in self.of(WorkloadEntry):
            for name, value in labels_of(workload).items():
                self._workloads[workload.namespace, name, value].append(workload)
                self._workloads[None, name, value].append(workload)
        self._suggested = 0

    def of(self, spec: type[S]) -> Sequence[Resource[S]]:
        """All resources whose spec has this type."""
        return Paced(self._by_spec[spec], self._breathe)

    def host(self, host: str, namespace: str) -> KnownHost | None:
        """The service that `host` means to a resource of `namespace`: its own namespace first, then public ones, then wildcards."""
        full = hosts.fully_qualified(host, namespace).lower()
        visible = [known for known in self._exact_hosts.get(full, ()) if known.namespace == namespace or known.is_public]
        if visible:
            return min(visible, key=lambda known: known.namespace != namespace)
        wild = (known for known in self._wild_hosts if known.namespace == namespace or known.is_public)
        return next((known for known in wild if hosts.is_subset(full, known.host)), None)

    def near_host(self, host: str, namespace: str) -> str:
        """`; did you mean "ratings"?` when a known host looks like this one, else nothing."""
        if len(self.hosts) > _MOST_HOSTS_TO_COMPARE or self._suggested >= _MOST_SUGGESTIONS:
            return ""
        self._suggested += 1
        suffix = f".{namespace}.{SERVICE_DOMAIN}"
        names = {known.host.removesuffix(suffix) for known in self.hosts}
        near = difflib.get_close_matches(host, sorted(names), 1, cutoff=0.75)
        return f'; did you mean "{near[0]}"?' if near else ""

    def is_visible_subset(self, host: str, subset: str, namespace: str) -> bool:
        """Whether a DestinationRule that `namespace` can see declares this subset for the host."""
        rules = self.destination_rules(host, namespace)
        return any(declared.name == subset for rule in rules for declared in rule.spec.subsets)

    def destination_rules(self, host: str, namespace: str) -> list[Resource[DestinationRule]]:
        """The DestinationRules for a host that `namespace` can see."""
        full = hosts.fully_qualified(host, namespace).lower()
        rules = [*self._rules_by_host.get(full, ())]
        rules += [rule for wild, rule in self._wild_rules if wild != full and hosts.is_subset(full, wild)]
        return [
            rule for rule in rules if rule.namespace == namespace or is_public(rule.spec.exportTo, self.mesh.defaultDestinationRuleExportTo)
        ]

    def gateway(self, reference: str, namespace: str) -> Resource[Gateway] | None:
        """The Gateway that a VirtualService of `namespace` means by `name`, `./name`, `ns/name` or `name.ns.svc...`."""
        where, slash, name = reference.rpartition("/")
        if not slash and "." in reference:
            name, where = reference.split(".")[:2]
        return self._gateways.get((namespace if where in ("", ".") else where, name))

    def has_mixer(self, kind: str, reference: str, namespace: str) -> bool:
        """Whether a rule of `namespace` finds this handler or instance: `name`, `name.namespace`, or `name.kind.namespace`.

        `kind` may be one of the kinds that each adapter and template once had.
        """
        parts, known, older = reference.split("."), self._mixer[kind], self._older_mixer[kind]
        match parts:
            case [name]:
                return (name, namespace) in known
            case [name, second]:
                own = (second == kind and (name, namespace) in known) or (name, second, namespace) in older
                return own or (name, second) in known
            case [name, middle, where]:
                return (middle == kind and (name, where) in known) or (name, middle, where) in older
        return False

    def workloads(self, namespace: str | None, labels: Mapping[str, str]) -> list[Resource[WorkloadEntry]]:
        """Workloads that carry all the labels; None means in any namespace."""
        if not labels:
            return [workload for workload in self.of(WorkloadEntry) if namespace in (None, workload.namespace)]
        fewest = min((self._workloads.get((namespace, *label), ()) for label in labels.items()), key=len)
        return [workload for workload in fewest if labels.items() <= labels_of(workload).items()]

    @cached_property
    def services_of(self) -> Mapping[ResourceKey, Sequence[Resource[Service]]]:
        """The Services that select a workload, by its key."""
        found: dict[ResourceKey, list[Resource[Service]]] = defaultdict(list)
        for service in self.of(Service):
            if service.spec.selector:
                for workload in self.workloads(service.namespace, service.spec.selector):
                    found[workload.key].append(service)
        return found

    @property
    def knows_workloads(self) -> bool:
        """Whether there are any: in files alone there mostly are none, and then nobody can say that a selector finds nothing."""
        return bool(self.of(WorkloadEntry))

    def _known_hosts(self) -> Iterable[KnownHost]:
        for service in self.of(Service):
            exported = service.metadata.annotations.get("networking.istio.io/exportTo")
            ports = tuple(ServicePort(port.port, port.name, port.protocol) for port in service.spec.ports)
            visible = is_public(exported.split(",") if exported else (), self.mesh.defaultServiceExportTo)
            yield KnownHost(f"{service.name}.{service.namespace}.{SERVICE_DOMAIN}", service.namespace, visible, ports, service)
        for entry in self.of(ServiceEntry):
            ports = tuple(ServicePort(port.number, port.name, port.protocol) for port in entry.spec.ports)
            visible = is_public(entry.spec.exportTo, self.mesh.defaultServiceExportTo)
            for host in entry.spec.hosts:
                yield KnownHost(hosts.fully_qualified(host, entry.namespace), entry.namespace, visible, ports, entry)


def labels_of(workload: Resource[WorkloadEntry]) -> Mapping[str, str]:
    """Those of the spec, else those of the object: the same choice as Pilot's."""
    return workload.spec.labels or workload.metadata.labels


def has_sidecar(workload: Resource[WorkloadEntry]) -> bool:
    """Whether a proxy stands before it: an agent registered it, or its label says so."""
    return workload.metadata.annotations.get(_REGISTERED) == "true" or labels_of(workload).get(_TLS_MODE) == "istio"


def is_public(export_to: Sequence[str], default: Sequence[str]) -> bool:
    """Only the first entry counts, as in Istio 1.4."""
    first = next(iter(export_to), None) or next(iter(default), "*")
    return first.strip() != "."


def scope_of(resource: Resource[Any], export_to: Sequence[str], default: Sequence[str]) -> str:
    """`*` when all namespaces see it, else its own."""
    return "*" if is_public(export_to, default) else resource.namespace
