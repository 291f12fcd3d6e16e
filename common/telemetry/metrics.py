# SPDX-License-Identifier: Apache-2.0
"""Metrics with exactly the names that Istio's dashboards ask for.

Both usual libraries append `_total` to counters, at least in the `# TYPE` line; Istio 1.4's names do not carry it. So values and the
text format (version 0.0.4, small) live here; tests read the text back with `prometheus_client`.
"""

from __future__ import annotations

import bisect
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

Labels = tuple[str, ...]
DEFAULT_BUCKETS: tuple[float, ...] = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Counter:
    """A sum that only grows, per label values."""

    kind = "counter"

    def __init__(self, name: str, help_text: str, labels: Sequence[str] = ()) -> None:
        self.name, self.help, self.labels = name, help_text, tuple(labels)
        self._values: dict[Labels, float] = {} if labels else {(): 0.0}
        self._lock = threading.Lock()

    def add(self, amount: float = 1.0, *values: str) -> None:
        """Add `amount` (not negative) to the series with these label values, in the order of `labels`."""
        self._check(values)
        with self._lock:
            self._values[values] = self._values.get(values, 0.0) + amount

    def value(self, *values: str) -> float:
        return self._values.get(values, 0.0)

    def _check(self, values: Labels) -> None:
        if len(values) != len(self.labels):
            raise ValueError(f"metric {self.name} has labels {self.labels}, got {len(values)} values")

    def lines(self) -> Iterator[str]:
        """Its samples in the text format."""
        with self._lock:
            items = list(self._values.items())
        for values, number in items:
            yield _sample(self.name, self.labels, values, number)


class Gauge(Counter):
    """A value that is set; or, with `read`, one that is asked for when somebody looks."""

    kind = "gauge"

    def __init__(self, name: str, help_text: str, labels: Sequence[str] = (), *, read: Callable[[], float] | None = None) -> None:
        super().__init__(name, help_text, labels)
        self._read = read

    def set(self, number: float, *values: str) -> None:
        self._check(values)
        with self._lock:
            self._values[values] = number

    def forget(self, *values: str) -> None:
        """Drop a series whose subject is gone."""
        with self._lock:
            self._values.pop(values, None)

    def lines(self) -> Iterator[str]:
        if self._read is not None:
            yield _sample(self.name, (), (), self._read())
        else:
            yield from super().lines()


class Histogram:
    """Observations in cumulative buckets, with sum and count. Units are the caller's, said in the help text."""

    kind = "histogram"

    def __init__(self, name: str, help_text: str, labels: Sequence[str] = (), *, buckets: Sequence[float] = DEFAULT_BUCKETS) -> None:
        self.name, self.help, self.labels = name, help_text, tuple(labels)
        self.buckets = tuple(sorted(buckets))
        self._series: dict[Labels, list[float]] = {}
        self._lock = threading.Lock()

    def observe(self, number: float, *values: str) -> None:
        with self._lock:
            series = self._series.get(values)
            if series is None:
                if len(values) != len(self.labels):
                    raise ValueError(f"metric {self.name} has labels {self.labels}, got {len(values)} values")
                series = self._series[values] = [0.0] * (len(self.buckets) + 2)
            series[bisect.bisect_left(self.buckets, number)] += 1
            series[-1] += number

    def count(self, *values: str) -> float:
        return sum(self._series.get(values, [0.0])[:-1])

    def lines(self) -> Iterator[str]:
        """Its cumulative buckets, count and sum in the text format."""
        with self._lock:
            items = [(values, list(series)) for values, series in self._series.items()]
        names = (*self.labels, "le")
        for values, series in items:
            running = 0.0
            for bound, number in zip((*map(number_text, self.buckets), "+Inf"), series, strict=False):
                running += number
                yield _sample(self.name + "_bucket", names, (*values, bound), running)
            yield _sample(self.name + "_count", self.labels, values, running)
            yield _sample(self.name + "_sum", self.labels, values, series[-1])


def number_text(value: float) -> str:
    """A sample's value as the text format writes it: whole numbers without a fraction."""
    return str(int(value)) if value == int(value) else repr(value)


def _sample(name: str, labels: Sequence[str], values: Labels, number: float) -> str:
    if not labels:
        return f"{name} {number_text(number)}"
    pairs = ",".join(f'{label}="{escape_label(value)}"' for label, value in zip(labels, values, strict=True))
    return f"{name}{{{pairs}}} {number_text(number)}"


def escape_label(text: str) -> str:
    """A label's value for between double quotes."""
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


Instrument = Counter | Histogram
AnyInstrument = TypeVar("AnyInstrument", bound=Instrument)


class Registry:
    """The instruments of one part (or of one adapter). Names are unique; rendering is Prometheus' text format."""

    def __init__(self) -> None:
        self._instruments: dict[str, Instrument] = {}

    def counter(self, name: str, help_text: str, labels: Sequence[str] = ()) -> Counter:
        return self._add(Counter(name, help_text, labels))

    def gauge(self, name: str, help_text: str, labels: Sequence[str] = (), *, read: Callable[[], float] | None = None) -> Gauge:
        return self._add(Gauge(name, help_text, labels, read=read))

    def histogram(self, name: str, help_text: str, labels: Sequence[str] = (), *, buckets: Sequence[float] = DEFAULT_BUCKETS) -> Histogram:
        return self._add(Histogram(name, help_text, labels, buckets=buckets))

    def remove(self, name: str) -> None:
        """Forget an instrument, with its series."""
        self._instruments.pop(name, None)

    def _add(self, instrument: AnyInstrument) -> AnyInstrument:
        if instrument.name in self._instruments:
            raise ValueError(f"metric {instrument.name} exists already")
        self._instruments[instrument.name] = instrument
        return instrument

    def text(self) -> bytes:
        """Prometheus text exposition, version 0.0.4."""
        out: list[str] = []
        for instrument in list(self._instruments.values()):
            help_text = instrument.help.replace("\\", "\\\\").replace("\n", "\\n")
            out += (f"# HELP {instrument.name} {help_text}", f"# TYPE {instrument.name} {instrument.kind}", *instrument.lines())
        return "\n".join((*out, "")).encode()


process_registry = Registry()
"""Metrics of this process; each part's `metrics.py` adds its own."""
