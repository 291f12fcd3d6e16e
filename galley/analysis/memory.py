# SPDX-License-Identifier: Apache-2.0
"""What one analysis leaves to the next, so that analysing again costs what changed.

Everything that is made of the resources is made here, and what is read meanwhile is written down: the groups of resources, and settings. A
value is taken from the analysis before if all of that is still the same, so nobody has to declare what a finding depends on, and nobody
can forget to.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, NamedTuple, TypeVar

from common.config.resource import Resource
from galley.analysis.groups import Change, Group, arranged

T = TypeVar("T")

EVERYTHING: Final = "everything"
"""The input that is the same only if all resources are; every other one is the type of a spec, or a setting."""

Inputs = Mapping[Hashable, object]
_NOTHING: Final[Inputs] = MappingProxyType({})


class Remembered(NamedTuple):
    """A value, what was read to make it, and the group (by its type) that it follows."""

    value: Any
    reads: Inputs
    followed: Inputs = _NOTHING


class Memory:
    """Belongs to whoever analyses again and again; hand it to each analysis, one after the other. It holds nothing that is gone."""

    def __init__(self) -> None:
        self.groups: Mapping[type, Group] = {}
        self.inputs: Inputs = {}
        self.known: Mapping[Hashable, Remembered] = {}


class Recall:
    """The values of one analysis. They are immutable: a fault on the way leaves the memory as it was."""

    def __init__(self, memory: Memory, resources: Iterable[Resource[Any]]) -> None:
        self._memory = memory
        self.groups, self._changes = arranged(resources, memory.groups)
        self._inputs: dict[Hashable, object] = {EVERYTHING: self.groups}
        for spec, group in self.groups.items():
            self._inputs[spec] = group
        self._now: dict[Hashable, Remembered] = {}
        self._reading: list[dict[Hashable, object]] = []

    def set(self, name: str, value: object) -> None:
        """Add a setting to what can be read. Settings are compared by value."""
        known = self._memory.inputs.get(name)
        self._inputs[name] = known if known == value else value

    def read(self, name: Hashable) -> Any:
        """A setting, or the group of a type of spec; None if there is none."""
        value = self._inputs.get(name)
        self._note({name: value})
        return value

    def members(self, spec: type) -> Sequence[Resource[Any]]:
        group: Group | None = self.read(spec)
        return group.members if group is not None else ()

    def value(self, key: Hashable, make: Callable[[], T]) -> T:
        """The value under this key, made only if something that it read is different."""
        known = self._now.get(key)
        if known is None:
            before = self._memory.known.get(key)
            known = self._now[key] = before if before is not None and self._hold(before.reads) else self._made(make)
        self._note(known.reads)
        value: T = known.value
        return value

    def following(self, key: Hashable, spec: type, make: Callable[[Sequence[Resource[Any]]], T], revise: Callable[[T, Change], T]) -> T:
        """The value that `make` makes of all resources with this type of spec. If only these changed, `revise` makes it of the one before."""
        group: Group | None = self.read(spec)
        known = self._now.get(key)
        if known is None:
            known = self._now[key] = self._revised(key, spec, revise) or self._made(
                lambda: make(group.members if group is not None else ()), {spec: group}
            )
        self._note(known.reads)
        value: T = known.value
        return value

    def keep(self) -> None:
        """Leave to the next analysis what is true now, and nothing else."""
        every = {**self._memory.known, **self._now}
        self._memory.known = {key: known for key, known in every.items() if self._hold(known.reads) and self._hold(known.followed)}
        self._memory.groups, self._memory.inputs = self.groups, self._inputs

    def _revised(self, key: Hashable, spec: type, revise: Callable[[T, Change], T]) -> Remembered | None:
        before = self._memory.known.get(key)
        if before is None or not self._hold(before.reads):
            return None
        if self._hold(before.followed):
            return before
        change = self._changes.get(spec)
        if change is None or before.followed.get(spec) is not change.before:
            return None
        with contextlib.suppress(Exception):  # making it from the beginning fails at the same resource as it would without a memory
            return self._made(lambda: revise(before.value, change), {spec: change.after}, before.reads)
        return None

    def _made(self, make: Callable[[], object], followed: Inputs = _NOTHING, reads: Inputs = _NOTHING) -> Remembered:
        noted = dict(reads)
        self._reading.append(noted)
        try:
            return Remembered(make(), noted, followed)
        finally:
            self._reading.pop()

    def _note(self, reads: Inputs) -> None:
        if self._reading:
            self._reading[-1].update(reads)

    def _hold(self, reads: Inputs) -> bool:
        return all(self._inputs.get(name) is value for name, value in reads.items())
