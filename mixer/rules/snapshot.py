# SPDX-License-Identifier: Apache-2.0
"""The compiled configuration: immutable, replaced whole, and all that a request needs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from common.config.resource import ResourceKey
from common.expression import Vocabulary
from mixer.compiler.program import Program
from mixer.dispatch.bulkhead import Bulkhead
from mixer.dispatch.result import Operation
from mixer.rules.signature import Signature
from mixer.templates.shape import InstanceShape

_FROM_HEADERS = {"request.useragent": "user-agent", "request.referer": "referer", "request.id": "x-request-id"}
"""Attributes that are made of a header: policy that reads one of these needs the header."""


class Finding(NamedTuple):
    """Something of a resource that was left out, and why. `field` is a path in its spec, empty for the whole."""

    resource: ResourceKey
    field: str
    message: str

    def __str__(self) -> str:
        return f"{self.resource}{' ' + self.field if self.field else ''}: {self.message}"


@dataclass(frozen=True, slots=True, eq=False)
class BuiltHandler:
    """A live handler. It is kept over snapshots for as long as `signature` is the same."""

    name: str
    short_name: str
    adapter: str
    signature: Signature
    handler: Any
    """It has the methods that its adapter's templates ask for."""
    bulkhead: Bulkhead


class Slot(NamedTuple):
    """Where rows of one instance for one handler are collected."""

    handler: BuiltHandler
    instance: InstanceShape


@dataclass(frozen=True, slots=True)
class Table:
    """Rules of one variety for one namespace: a program and where its rows go. Slots are in rule order."""

    program: Program
    slots: tuple[Slot, ...]


class DirectiveSlot(NamedTuple):
    """A header operation; its row is the value."""

    name: str
    operation: Operation
    response: bool


@dataclass(frozen=True, slots=True)
class Directives:
    """Header operations of the rules of one namespace."""

    program: Program
    slots: tuple[DirectiveSlot, ...]


@dataclass(frozen=True, slots=True)
class NamespaceRules:
    """What applies to requests of one identity namespace. `quotas` is by quota name in lower case."""

    check: Table | None = None
    report: Table | None = None
    directives: Directives | None = None
    quotas: Mapping[str, Table] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """`default` serves namespaces without rules of their own: the rules of the configuration namespace."""

    id: int = 0
    epoch: str = ""
    """The policy epoch of `common.checkprotocol`."""
    vocabulary: Vocabulary = field(default_factory=Vocabulary.standard)
    handlers: Mapping[str, BuiltHandler] = field(default_factory=dict)
    namespaces: Mapping[str, NamespaceRules] = field(default_factory=dict)
    default: NamespaceRules = field(default_factory=NamespaceRules)
    findings: tuple[Finding, ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict)
    """Collection -> how many resources of it the snapshot was made of."""

    def mistakes_in(self, collection: str) -> int:
        """Findings at resources of one collection."""
        return sum(finding.resource.collection == collection for finding in self.findings)

    def rules_for(self, bag: Any) -> NamespaceRules:
        """Rules for a bag, by its identity namespace: the destination's for inbound reports, the source's for outbound ones."""
        outbound = bag.get("context.reporter.kind") == "outbound"
        namespace = bag.get("source.namespace" if outbound else "destination.namespace")
        return self.namespaces.get(namespace, self.default)

    @property
    def policy_attributes(self) -> frozenset[str]:
        """All attributes that checks and quotas may read, in any namespace."""
        return frozenset().union(*(program.attributes for program in self._policy_programs()))

    @property
    def policy_headers(self) -> frozenset[str] | None:
        """Names of the request headers that checks and quotas may read; None when any may be."""
        found = frozenset(header for name, header in _FROM_HEADERS.items() if name in self.policy_attributes)
        for program in self._policy_programs():
            if program.headers is None:
                return None
            found |= program.headers
        return found

    def _policy_programs(self) -> Iterator[Program]:
        for rules in (self.default, *self.namespaces.values()):
            for table in (rules.check, rules.directives, *rules.quotas.values()):
                if table is not None:
                    yield table.program
