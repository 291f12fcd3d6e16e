# SPDX-License-Identifier: Apache-2.0
"""A rule set -> one Python function: conditions once, attribute reads hoisted, shared expressions computed once, rows built in place.

Fusing is what makes Mixer fast enough in Python: a hundred rules as one function run more than ten times faster than as a hundred functions.
Every program has two variants. `run` hoists reads and is for Reports. `run_tracked` reads at the place of use, so that a `Tracker` records
exactly what was needed, and is for Checks whose answers are cached.
"""

from __future__ import annotations

import itertools
import textwrap
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from common.expression import Apply, Checked
from mixer.compiler.emission import Emitter, is_total, map_keys, reads

Element: TypeAlias = "Checked | tuple[Element, ...]"
"""One field of a row, or a nested tuple of fields (the dimensions of a metric)."""

Note: TypeAlias = tuple[str, Exception]
"""What failed (a rule or instance name) and how."""

Run: TypeAlias = Callable[[Iterable[Any], Sequence[list[Any]], list[Note], list[Note]], None]
"""(bags, slots, failures, warnings): appends a row to `slots[build.slot]` for every build of every group whose condition holds."""


@dataclass(frozen=True, slots=True)
class Build:
    """Makes one row. `label` names it in failures."""

    slot: int
    row: tuple[Element, ...]
    label: str


@dataclass(frozen=True, slots=True)
class Group:
    """Rows that are built under one condition; None is always. A condition that fails is a warning and counts as false."""

    condition: Checked | None
    builds: tuple[Build, ...]
    label: str


@dataclass(frozen=True, slots=True)
class Program:
    """Compiled groups. `source` is for people; `attributes` are the names that may be read."""

    run: Run
    run_tracked: Run
    source: str
    attributes: frozenset[str]
    headers: frozenset[str] | None
    """Names of the request headers that may be read; None when all may be."""
    slots: int


def compile_groups(groups: Sequence[Group], *, slots: int, name: str) -> Program:
    """Compile a rule set. `name` appears in tracebacks."""
    hoisting = _Writer(groups, slots, tracked=False)
    tracking = _Writer(groups, slots, tracked=True)
    attributes = frozenset().union(*(_reads_of(group) for group in groups))
    run, run_tracked = hoisting.function(name), tracking.function(f"{name} (tracked)")
    return Program(run, run_tracked, hoisting.source, attributes, _headers(groups), slots)


def compile_expression(node: Checked) -> Callable[[Mapping[str, Any]], Any]:
    """A single expression as a function of the bag; a Tracker may stand for the bag."""
    emitter = Emitter(lambda name: f"get({name!r})")
    source = f"def evaluate(bag):\n    get = bag.get\n    return {emitter.leaving(node)}\n"
    function: Callable[[Mapping[str, Any]], Any] = _define(source, "evaluate", "<expression>", emitter.globals)
    return function


def _define(source: str, name: str, filename: str, scope: Mapping[str, Any]) -> Any:
    namespace = dict(scope)
    exec(compile(source, filename, "exec"), namespace)  # noqa: S102 - the source is ours; see emission.py
    return namespace[name]


def leaves(row: Iterable[Element]) -> Iterator[Checked]:
    """All expressions of a row."""
    for element in row:
        if isinstance(element, tuple):
            yield from leaves(element)
        else:
            yield element


def _expressions(group: Group) -> Iterator[Checked]:
    if group.condition is not None:
        yield group.condition
    for build in group.builds:
        yield from leaves(build.row)


def _headers(groups: Iterable[Group]) -> frozenset[str] | None:
    found: frozenset[str] = frozenset()
    for group in groups:
        for node in _expressions(group):
            keys = map_keys(node, "request.headers")
            if keys is None:
                return None
            found |= keys
    return found


def _reads_of(group: Group) -> set[str]:
    return set().union(*map(reads, _expressions(group)))


class _Writer:
    """Writes one variant of a program."""

    def __init__(self, groups: Sequence[Group], slots: int, *, tracked: bool) -> None:
        self._groups, self._slots, self._tracked = groups, slots, tracked
        self._variables: dict[str, str] = {}
        self._numbers = itertools.count()
        self._emitter = Emitter(self._read)
        self._conditions: dict[Checked, str] = {}
        self._lines: list[str] = []
        self.source = ""

    def function(self, filename: str) -> Run:
        body = list(self._body())
        outputs = "".join(f"    o{slot} = slots[{slot}].append\n" for slot in range(self._slots))
        self.source = (
            "def run(bags, slots, failures, warnings):\n"
            f"{outputs}    for bag in bags:\n        get = bag.get\n        try:\n"
            f"{textwrap.indent(chr(10).join(body) or 'pass', ' ' * 12)}\n"
            "        except Exception as error:\n            failures.append(('attributes', error))\n"
        )
        run: Run = _define(self.source, "run", f"<{filename}>", self._emitter.globals)
        return run

    def _read(self, name: str) -> str:
        return f"get({name!r})" if self._tracked else self._variables[name]

    def _hoist(self, names: Iterable[str]) -> Iterator[str]:
        """Assignments for attributes that have no variable yet."""
        if not self._tracked:
            for name in sorted(names):
                if name not in self._variables:
                    self._variables[name] = f"a{next(self._numbers)}"
                    yield f"{self._variables[name]} = get({name!r})"

    def _body(self) -> Iterator[str]:
        uses = Counter(name for group in self._groups for name in _reads_of(group))
        in_conditions = {name for group in self._groups if group.condition is not None for name in reads(group.condition)}
        yield from self._hoist({name for name, count in uses.items() if count > 1} | in_conditions)
        for group in self._groups:
            if group.condition is None:
                yield from self._builds(group)
                continue
            if group.condition not in self._conditions:
                variable = self._conditions[group.condition] = f"c{len(self._conditions)}"
                yield from self._guarded(
                    f"{variable} = {self._emitter.strict(group.condition)}",
                    is_total(group.condition),
                    f"{variable} = False",
                    f"warnings.append(({group.label!r}, error))",
                )
            yield f"if {self._conditions[group.condition]}:"
            yield from (f"    {line}" for line in self._builds(group))

    def _builds(self, group: Group) -> Iterator[str]:
        if not group.builds:
            yield "pass"
        yield from self._hoist(name for name in _reads_of(group))
        known = dict(self._emitter.shared)
        yield from self._share(group)
        for build in group.builds:
            total = all(map(is_total, leaves(build.row))) and not self._tracked
            yield from self._guarded(f"o{build.slot}({self._row(build.row)})", total, f"failures.append(({build.label!r}, error))")
        if group.condition is not None:
            self._emitter.shared.clear()  # made under a condition that need not hold further down
            self._emitter.shared.update(known)
            for name in self._only_here(group):
                self._variables.pop(name, None)

    def _only_here(self, group: Group) -> set[str]:
        others = set().union(*(_reads_of(other) for other in self._groups if other is not group)) if len(self._groups) > 1 else set()
        in_condition = reads(group.condition) if group.condition is not None else set()
        return _reads_of(group) - others - in_condition

    def _share(self, group: Group) -> Iterator[str]:
        """Compute once what several fields of the group ask for, when it cannot fail."""
        if self._tracked:
            return
        counts = Counter(leaf for build in group.builds for leaf in leaves(build.row) if isinstance(leaf, Apply))
        for node, count in counts.items():
            if count > 1 and node not in self._emitter.shared and is_total(node):
                code = self._emitter.leaving(node)
                self._emitter.shared[node] = f"s{next(self._numbers)}"
                yield f"{self._emitter.shared[node]} = {code}"

    def _row(self, row: Iterable[Element]) -> str:
        parts = [self._row(element) if isinstance(element, tuple) else self._emitter.leaving(element) for element in row]
        return f"({', '.join(parts)}{',' if len(parts) == 1 else ''})"

    @staticmethod
    def _guarded(code: str, safe: bool, *on_error: str) -> Iterator[str]:
        if safe:
            yield code
            return
        yield from ("try:", f"    {code}", "except Exception as error:", *(f"    {line}" for line in on_error))
