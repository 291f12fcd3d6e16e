# SPDX-License-Identifier: Apache-2.0
"""The mesh metrics page: families and series behind Mixer's port 42422, in Prometheus' text format.

It outlives the handlers that fill it. A handler that is rebuilt finds its series again as long as the definition is the same; Istio 1.4
cleared every series of the mesh when one definition changed.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable, Iterator
from typing import NamedTuple

from common.telemetry.metrics import escape_label, number_text


class Definition(NamedTuple):
    """What a family is. `kind` is the text format's type; `bounds` are a histogram's upper bounds without +Inf."""

    name: str
    kind: str
    help: str
    labels: tuple[str, ...]
    bounds: tuple[float, ...] = ()


class Series:
    """One combination of label values. `text` is its labels as the page writes them, made once."""

    __slots__ = ("buckets", "text", "total", "updated")

    def __init__(self, text: str, buckets: int, now: float) -> None:
        self.text = text
        self.total = 0.0
        self.buckets = [0] * buckets
        self.updated = now


class Family:
    """All series of one metric."""

    def __init__(self, definition: Definition) -> None:
        self.definition = definition
        self.owners: list[object] = []
        self.generation = 0
        """Grows when series are dropped: caches of series are then stale."""
        self._series: dict[tuple[str, ...], Series] = {}

    def series(self, labels: tuple[str, ...], now: float) -> Series:
        """The series with these label values, made if it is new."""
        found = self._series.get(labels)
        if found is None:
            pairs = zip(self.definition.labels, labels, strict=True)
            text = ",".join(f'{name}="{escape_label(value)}"' for name, value in pairs)
            found = self._series[labels] = Series(text, len(self.definition.bounds) + 1 if self.definition.kind == "histogram" else 0, now)
        return found

    def __len__(self) -> int:
        return len(self._series)

    def expire(self, before: float) -> int:
        """Drop series not updated since `before` (the clock's seconds); the number dropped."""
        stale = [labels for labels, series in self._series.items() if series.updated < before]
        for labels in stale:
            del self._series[labels]
        self.generation += bool(stale)
        return len(stale)

    def observe(self, series: Series, number: float) -> None:
        """Count an observation of a histogram."""
        series.buckets[bisect.bisect_left(self.definition.bounds, number)] += 1
        series.total += number

    def lines(self) -> Iterator[str]:
        """The family as the page shows it."""
        name = self.definition.name
        help_text = self.definition.help.replace("\\", "\\\\").replace("\n", "\\n")
        yield f"# HELP {name} {help_text}"
        yield f"# TYPE {name} {self.definition.kind}"
        for series in tuple(self._series.values()):
            labels = f"{{{series.text}}}" if series.text else ""
            if self.definition.kind != "histogram":
                yield f"{name}{labels} {number_text(series.total)}"
                continue
            running = 0
            comma = "," if series.text else ""
            for bound, count in zip((*map(number_text, self.definition.bounds), "+Inf"), series.buckets, strict=True):
                running += count
                yield f'{name}_bucket{{{series.text}{comma}le="{bound}"}} {running}'
            yield f"{name}_sum{labels} {number_text(series.total)}"
            yield f"{name}_count{labels} {running}"


class MetricsPage:
    """Every family by name. One page serves all prometheus handlers of a process."""

    CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

    def __init__(self) -> None:
        self._families: dict[str, Family] = {}
        self._sweepers: dict[int, Callable[[], None]] = {}

    def family(self, definition: Definition) -> Family:
        """The family with this very definition. It is shown once somebody holds it."""
        family = self._families.get(definition.name)
        return family if family is not None and family.definition == definition else Family(definition)

    def hold(self, family: Family, owner: object) -> None:
        """Show a family for as long as it has owners. One of the same name with another definition gives way, and its series with it."""
        self._families[family.definition.name] = family
        family.owners.append(owner)

    def release(self, family: Family, owner: object) -> None:
        """Give a family up; the last owner takes the series with it."""
        family.owners.remove(owner)
        if not family.owners and self._families.get(family.definition.name) is family:
            del self._families[family.definition.name]

    def sweep_with(self, owner: object, sweep: Callable[[], None] | None) -> None:
        """Have `sweep` called from time to time, and before the page is shown; None ends it."""
        self._sweepers.pop(id(owner), None)
        if sweep is not None:
            self._sweepers[id(owner)] = sweep

    def sweep(self) -> None:
        """Drop what has expired. For the event loop, like everything that changes series."""
        for sweep in list(self._sweepers.values()):
            sweep()

    def text(self) -> bytes:
        """The whole page. A thread may make it while series change: each line is right for some moment of the making."""
        return "\n".join([line for name in sorted(self._families) for line in self._families[name].lines()] + [""]).encode()
