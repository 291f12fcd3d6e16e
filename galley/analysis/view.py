# SPDX-License-Identifier: Apache-2.0
"""The set of resources that is analysed, indexed once for all analysers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from typing import Any, Final, Literal, NamedTuple, TypeVar, overload

import msgspec

from common.config.kinds.core import Service
from common.config.kinds.destination_rule import DestinationRule
from common.config.kinds.gateway import Gateway
from common.config.kinds.legacy_mixer import LegacyHandler, LegacyInstance
from common.config.kinds.mesh import MeshConfig
from common.config.kinds.mixer import Handler, Instance
from common.config.kinds.service_entry import ServiceEntry, WorkloadEntry
from common.config.resource import Resource
from common.mesh.names import SERVICE_DOMAIN
from galley.analysis.groups import Change, place
from galley.analysis.memory import EVERYTHING, Memory, Recall
from galley.analysis.workload_index import WorkloadIndex, labels_of
from galley.validation import hosts

S = TypeVar("S", bound=msgspec.Struct)
R = TypeVar("R")

Breathe = Callable[[], None]
Judge = Callable[["View", Resource[S]], Iterable[R]]

_BREATH: Final = 8  # resources between two breaths: below a millisecond of work


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


class Exports(NamedTuple):
    """What MeshConfig says of resources that do not say themselves who sees them; no finding about others needs more of it."""

    services: tuple[str, ...]
    virtual_services: tuple[str, ...]
    destination_rules: tuple[str, ...]


class View:
    """Lookups over one set of resources. Order is that of (kind, namespace, name), so findings come in the same order every time.

    What analysers learn, they learn from here: a remembered finding holds as long as what was looked up for it.
    """

    def __init__(
        self,
        resources: Iterable[Resource[Any]],
        breathe: Breathe = lambda: None,
        *,
        control_plane_version: str = "",
        memory: Memory | None = None,
    ) -> None:
        """`breathe` is called every few resources: where the analysis shares a process with servers, it lets them go first.

        `control_plane_version` is empty where there is no control plane, as in an analysis of files alone. `memory` is what the analysis
        before has left (`keep`).
        """
        self._breathe = breathe
        self._recall = Recall(memory or Memory(), resources)
        mesh = next((found.spec for found in self.of(MeshConfig)), MeshConfig())
        exports = Exports(mesh.defaultServiceExportTo, mesh.defaultVirtualServiceExportTo, mesh.defaultDestinationRuleExportTo)
        self._recall.set("exports", exports)
        self._recall.set("version", control_plane_version)

    def keep(self) -> None:
        """Leave in the memory what the next analysis can use."""
        self._recall.keep()

    # -- going through resources ----------------------------------------------------------------------------------------------------

    def of(self, spec: type[S]) -> Sequence[Resource[S]]:
        """All resources whose spec has this type. Who reads it reads again when one of them changes; see `each`."""
        return Paced(self._recall.members(spec), self._breathe)

    def each(self, spec: type[S], judge: Judge[S, R]) -> Iterator[R]:
        """What `judge` says of each resource with this type of spec. It is asked again only about those that changed, or if something else
        that it looked up did. Where it fails the others are judged all the same, and then the first fault is raised.

        What is remembered is remembered by the function, so it must be one of a module and none that is made on the way.
        """
        said: dict[int, tuple[R, ...]] = {}

        def judged(resources: Sequence[Resource[S]]) -> dict[int, tuple[R, ...]]:
            said.clear()
            faults: list[Exception] = []
            for resource in Paced(resources, self._breathe):
                try:
                    if answer := tuple(judge(self, resource)):
                        said[id(resource)] = answer
                except Exception as fault:
                    faults.append(fault)
            if faults:
                raise faults[0]
            return dict(said)

        def revised(before: dict[int, tuple[R, ...]], change: Change) -> dict[int, tuple[R, ...]]:
            gone = {id(resource) for resource in change.gone}
            return {known: answer for known, answer in before.items() if known not in gone} | judged(change.new)

        try:
            found = self._recall.following((judge, spec), spec, judged, revised)
        except Exception:
            yield from self._in_order(spec, said)
            raise
        yield from self._in_order(spec, found)

    def _in_order(self, spec: type, said: Mapping[int, tuple[R, ...]]) -> Iterator[R]:
        for resource in self._recall.members(spec) if said else ():
            yield from said.get(id(resource), ())

    def each_of_all(self, judge: Judge[Any, R]) -> Iterator[R]:
        """The same for all resources."""
        for spec in self._recall.read(EVERYTHING):
            yield from self.each(spec, judge)

    def once(self, make: Callable[[View], R], *, key: Callable[..., object] | None = None) -> R:
        """What `make` makes of this view, made again only if something that it looked up changed. It is remembered by this function or by
        `key`, so that must be a function of a module."""
        return self._recall.value(key or make, lambda: make(self))

    # -- settings -------------------------------------------------------------------------------------------------------------------

    @property
    def control_plane_version(self) -> str:
        version: str = self._recall.read("version")
        return version

    @property
    def exports(self) -> Exports:
        exports: Exports = self._recall.read("exports")
        return exports

    # -- lookups --------------------------------------------------------------------------------------------------------------------

    @property
    def hosts(self) -> tuple[KnownHost, ...]:
        """All that services answer to."""
        return self.once(_known_hosts)

    def host(self, host: str, namespace: str) -> KnownHost | None:
        """The service that `host` means to a resource of `namespace`: its own namespace first, then public ones, then wildcards."""
        full = hosts.fully_qualified(host, namespace).lower()
        exact, wildcards = self.once(_hosts_by_name)
        visible = [known for known in exact.get(full, ()) if known.namespace == namespace or known.is_public]
        if visible:
            return min(visible, key=lambda known: known.namespace != namespace)
        wild = (known for known in wildcards if known.namespace == namespace or known.is_public)
        return next((known for known in wild if hosts.is_subset(full, known.host)), None)

    def is_visible_subset(self, host: str, subset: str, namespace: str) -> bool:
        """Whether a DestinationRule that `namespace` can see declares this subset for the host."""
        rules = self.destination_rules(host, namespace)
        return any(declared.name == subset for rule in rules for declared in rule.spec.subsets)

    def destination_rules(self, host: str, namespace: str) -> list[Resource[DestinationRule]]:
        """The DestinationRules for a host that `namespace` can see."""
        full = hosts.fully_qualified(host, namespace).lower()
        exact, wildcards = self.once(_rules_by_host)
        rules = [*exact.get(full, ()), *(rule for wild, rule in wildcards if wild != full and hosts.is_subset(full, wild))]
        return [rule for rule in rules if rule.namespace == namespace or is_public(rule.spec.exportTo, self.exports.destination_rules)]

    def gateway(self, reference: str, namespace: str) -> Resource[Gateway] | None:
        """The Gateway that a VirtualService of `namespace` means by `name`, `./name`, `ns/name` or `name.ns.svc...`."""
        where, slash, name = reference.rpartition("/")
        if not slash and "." in reference:
            name, where = reference.split(".")[:2]
        return self.once(_gateways).get((namespace if where in ("", ".") else where, name))

    def has_mixer(self, kind: Literal["handler", "instance"], reference: str, namespace: str) -> bool:
        """Whether a rule of `namespace` finds this handler or instance: `name`, `name.namespace`, or `name.kind.namespace`.

        `kind` may be one of the kinds that each adapter and template once had.
        """
        known, older = self.once(_handlers if kind == "handler" else _instances)
        match reference.split("."):
            case [name]:
                return (name, namespace) in known
            case [name, second]:
                own = (second == kind and (name, namespace) in known) or (name, second, namespace) in older
                return own or (name, second) in known
            case [name, middle, where]:
                return (middle == kind and (name, where) in known) or (name, middle, where) in older
        return False

    def workloads(self, namespace: str | None, labels: Mapping[str, str]) -> Iterator[Resource[WorkloadEntry]]:
        """Workloads that carry all the labels, none of them looked for before it is wanted; no namespace means any."""
        index = self._recall.following(WorkloadIndex, WorkloadEntry, WorkloadIndex.of, WorkloadIndex.after)
        return index.carrying(namespace, labels)

    def services_of(self, workload: Resource[WorkloadEntry]) -> Sequence[Resource[Service]]:
        """The Services that select a workload."""
        labels, selecting = labels_of(workload), self.once(_services_by_label)
        found = [
            service
            for label in labels.items()
            for service in selecting.get((workload.namespace, *label), ())
            if service.spec.selector.items() <= labels.items()
        ]
        return sorted(found, key=place) if len(found) > 1 else found

    @property
    def knows_workloads(self) -> bool:
        """Whether there are any: in files alone there mostly are none, and then nobody can say that a selector finds nothing."""
        return bool(self.of(WorkloadEntry))


def _known_hosts(view: View) -> tuple[KnownHost, ...]:
    found: list[KnownHost] = []
    default = view.exports.services
    for service in view.of(Service):
        exported = service.metadata.annotations.get("networking.istio.io/exportTo")
        ports = tuple(ServicePort(port.port, port.name, port.protocol) for port in service.spec.ports)
        visible = is_public(exported.split(",") if exported else (), default)
        found.append(KnownHost(f"{service.name}.{service.namespace}.{SERVICE_DOMAIN}", service.namespace, visible, ports, service))
    for entry in view.of(ServiceEntry):
        ports = tuple(ServicePort(port.number, port.name, port.protocol) for port in entry.spec.ports)
        visible = is_public(entry.spec.exportTo, default)
        for host in entry.spec.hosts:
            found.append(KnownHost(hosts.fully_qualified(host, entry.namespace), entry.namespace, visible, ports, entry))
    return tuple(found)


def _hosts_by_name(view: View) -> tuple[Mapping[str, Sequence[KnownHost]], Sequence[KnownHost]]:
    """Each by its own name, and the wildcards again."""
    exact: dict[str, list[KnownHost]] = defaultdict(list)
    for known in view.hosts:
        exact[known.host.lower()].append(known)
    return exact, [known for known in view.hosts if known.host.startswith("*")]


def _rules_by_host(view: View) -> tuple[Mapping[str, Sequence[Resource[DestinationRule]]], Sequence[tuple[str, Resource[DestinationRule]]]]:
    """Each by its own host, and those for wildcards again."""
    exact: dict[str, list[Resource[DestinationRule]]] = defaultdict(list)
    wildcards: list[tuple[str, Resource[DestinationRule]]] = []
    for rule in view.of(DestinationRule):
        full = hosts.fully_qualified(rule.spec.host, rule.namespace).lower()
        exact[full].append(rule)
        if full.startswith("*"):
            wildcards.append((full, rule))
    return exact, wildcards


def _gateways(view: View) -> Mapping[tuple[str, str], Resource[Gateway]]:
    return {(gateway.namespace, gateway.name): gateway for gateway in view.of(Gateway)}


def _handlers(view: View) -> tuple[Set[tuple[str, str]], Set[tuple[str, str, str]]]:
    return _named(view.of(Handler)), _named_with_kind(view.of(LegacyHandler))


def _instances(view: View) -> tuple[Set[tuple[str, str]], Set[tuple[str, str, str]]]:
    return _named(view.of(Instance)), _named_with_kind(view.of(LegacyInstance))


def _named(found: Iterable[Resource[Any]]) -> Set[tuple[str, str]]:
    return {(each.name, each.namespace) for each in found}


def _named_with_kind(found: Iterable[Resource[Any]]) -> Set[tuple[str, str, str]]:
    return {(each.name, each.kind.name, each.namespace) for each in found}


def _services_by_label(view: View) -> Mapping[tuple[str, str, str], Sequence[Resource[Service]]]:
    """Each by its namespace and one label of its selector, whichever."""
    found: dict[tuple[str, str, str], list[Resource[Service]]] = defaultdict(list)
    for service in view.of(Service):
        if service.spec.selector:
            found[service.namespace, *next(iter(service.spec.selector.items()))].append(service)
    return found


def is_public(export_to: Sequence[str], default: Sequence[str]) -> bool:
    """Only the first entry counts, as in Istio 1.4."""
    first = next(iter(export_to), None) or next(iter(default), "*")
    return first.strip() != "."


def scope_of(resource: Resource[Any], export_to: Sequence[str], default: Sequence[str]) -> str:
    """`*` when all namespaces see it, else its own."""
    return "*" if is_public(export_to, default) else resource.namespace
