# SPDX-License-Identifier: Apache-2.0
"""prometheus: metric instances become series on the mesh metrics page.

Hot path of telemetry: a row's dimensions are looked up as they come, so label texts are made once per series and not once per request.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from common.config.duration import DurationError, seconds
from common.config.mixer_builtin import ADAPTERS
from common.config.mixer_builtin.adapters import Buckets, MetricInfo, PrometheusParams
from common.expression import ValueType
from common.expression.values import NANOSECONDS, Timestamp, text_of
from common.telemetry.metrics import DEFAULT_BUCKETS
from mixer.adapters.contract import Adapter, Batch, Environment, HandlerSpec, decode_params
from mixer.adapters.exposition import Definition, Family, Series
from mixer.errors import HandlerError
from mixer.templates.shape import InstanceShape

_KINDS = {"COUNTER": "counter", "GAUGE": "gauge", "DISTRIBUTION": "histogram"}
_LABEL_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_METRIC_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
MAX_BUCKETS = 200


class _Feed:
    """One metric instance flowing into one family."""

    def __init__(self, family: Family, shape: InstanceShape) -> None:
        self.family = family
        self._number = _NUMBERS[shape.field_type("value")]
        keys, types = shape.map_columns("dimensions").keys, shape.map_columns("dimensions").types
        self._order = tuple(keys.index(label) for label in family.definition.labels)
        self._has_maps = ValueType.STRING_MAP in types
        self._cache: dict[tuple[Any, ...], Series] = {}
        self._generation = family.generation

    def take(self, rows: Sequence[tuple[Any, ...]], now: float) -> None:
        """Count every row. A value that is no number is reported at the end; the other rows count."""
        if self._generation != self.family.generation:
            self._cache.clear()
            self._generation = self.family.generation
        cache, kind, observe, number = self._cache, self.family.definition.kind, self.family.observe, self._number
        wrong: list[str] = []
        if self._has_maps:  # maps cannot be keys
            rows = [(row[0], tuple(text_of(each) if isinstance(each, Mapping) else each for each in row[1])) for row in rows]
        for row in rows:
            series = cache.get(row[1]) or self._series(row[1], now)
            series.updated = now
            try:
                value = row[0] if number is None else number(row[0])
            except ValueError:
                wrong.append(repr(row[0]))
                continue
            if kind == "counter":
                if value < 0:
                    wrong.append(f"{value} for a counter")
                    continue
                series.total += value
            elif kind == "histogram":
                observe(series, value)
            else:
                series.total = float(value)
        if wrong:
            raise ValueError(f"{self.family.definition.name}: {len(wrong)} values are no numbers, first {wrong[0]}")

    def _series(self, dimensions: tuple[Any, ...], now: float) -> Series:
        labels = tuple(_label_text(dimensions[index]) for index in self._order)
        series = self._cache[dimensions] = self.family.series(labels, now)
        return series


class Prometheus:
    """One handler. While a successor is being built both own the families that have not changed, so series survive."""

    def __init__(self, feeds: dict[str, list[_Feed]], expiry: float, environment: Environment) -> None:
        self._feeds, self._expiry = feeds, expiry
        self._clock, self._page = environment.clock, environment.metrics_page
        for feed in self._all():
            self._page.hold(feed.family, self)
        if expiry:
            self._page.sweep_with(self, self._sweep)

    def report(self, batches: Sequence[Batch]) -> None:
        now = self._clock()
        problems: list[str] = []
        for batch in batches:
            for feed in self._feeds.get(batch.instance.name, ()):
                try:
                    feed.take(batch.rows, now)
                except ValueError as error:
                    problems.append(str(error))
        if problems:
            raise ValueError("; ".join(problems))

    def _all(self) -> Iterator[_Feed]:
        for feeds in self._feeds.values():
            yield from feeds

    def _sweep(self) -> None:
        before = self._clock() - self._expiry
        for feed in self._all():
            feed.family.expire(before)

    async def close(self) -> None:
        self._page.sweep_with(self, None)
        for feed in self._all():
            self._page.release(feed.family, self)


def _label_text(value: Any) -> str:
    """Istio 1.4's label texts: as `text_of` has them, but times always with six digits."""
    if isinstance(value, Timestamp):
        return value.moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return text_of(value)


_NUMBERS: dict[ValueType, Callable[[Any], float] | None] = {
    ValueType.INT64: None,
    ValueType.DOUBLE: None,
    ValueType.DURATION: lambda value: float(value / NANOSECONDS),
    ValueType.STRING: float,
}
"""How the value of a metric becomes a number; other types cannot."""


def build(spec: HandlerSpec, environment: Environment) -> Prometheus:
    params = decode_params(spec, PrometheusParams)
    shapes = {shape.name: shape for shape in spec.instances}
    defined = [(metric, _definition(metric, f"params.metrics[{index}]")) for index, metric in enumerate(params.metrics)]
    for index, (metric, definition) in enumerate(defined):
        if definition.name in (other.name for _, other in defined[:index]):
            raise HandlerError(f"two metrics are called {definition.name}", f"params.metrics[{index}].name")
        if metric.instanceName in shapes:
            _check_shape(shapes[metric.instanceName], definition, f"params.metrics[{index}]")
    feeds: dict[str, list[_Feed]] = {}
    for metric, definition in defined:
        if (shape := shapes.get(metric.instanceName)) is not None:
            feeds.setdefault(shape.name, []).append(_Feed(environment.metrics_page.family(definition), shape))
    unfed = sorted(set(shapes) - set(feeds))
    if unfed:
        raise HandlerError(f"rules hand over {unfed[0]}, for which there is no metric", "params.metrics")
    return Prometheus(feeds, _expiry(params), environment)


def _definition(metric: MetricInfo, path: str) -> Definition:
    if metric.kind not in _KINDS:
        raise HandlerError("one of GAUGE, COUNTER, DISTRIBUTION", f"{path}.kind")
    for index, label in enumerate(metric.labelNames):
        if not _LABEL_NAME.fullmatch(label) or label.startswith("__") or label in metric.labelNames[:index]:
            raise HandlerError(f"{label!r} cannot be a label, or stands there twice", f"{path}.labelNames[{index}]")
    name = _metric_name(f"{metric.namespace}_{metric.name or metric.instanceName}" if metric.namespace else metric.name)
    if not _METRIC_NAME.fullmatch(name):
        raise HandlerError(f"{name!r} cannot be the name of a metric", f"{path}.name")
    bounds = _bounds(metric.buckets, f"{path}.buckets") if metric.kind == "DISTRIBUTION" else ()
    return Definition(name, _KINDS[metric.kind], metric.description or metric.name, metric.labelNames, bounds)


def _metric_name(text: str) -> str:
    return text.removeprefix("/").replace("-", "").translate(str.maketrans("/. ", "___"))


def _check_shape(shape: InstanceShape, definition: Definition, path: str) -> None:
    dimensions = shape.map_columns("dimensions").keys
    if set(dimensions) != set(definition.labels):
        wrong = sorted(set(dimensions) ^ set(definition.labels))
        raise HandlerError(f"labels and the dimensions of {shape.name} differ: {', '.join(wrong)}", f"{path}.labelNames")
    value = shape.field_type("value")
    if value not in _NUMBERS:
        raise HandlerError(f"the value of {shape.name} is {value}, which is no number", f"{path}.instanceName")


def _bounds(buckets: Buckets | None, path: str) -> tuple[float, ...]:
    """Upper bounds. Linear and exponential buckets with n finite buckets have n + 1 bounds; none given means Prometheus' usual ones."""
    if buckets is None:
        return DEFAULT_BUCKETS
    bounds: tuple[float, ...] = DEFAULT_BUCKETS
    finite = 0
    if (linear := buckets.linearBuckets) is not None:
        finite = linear.numFiniteBuckets
        bounds = tuple(linear.offset + linear.width * step for step in range(min(finite, MAX_BUCKETS) + 1))
    elif (exponential := buckets.exponentialBuckets) is not None:
        finite = exponential.numFiniteBuckets
        bounds = tuple(exponential.scale * exponential.growthFactor**step for step in range(min(finite, MAX_BUCKETS) + 1))
    elif buckets.explicitBuckets is not None:
        bounds = buckets.explicitBuckets.bounds
    rising = all(low < high for low, high in itertools.pairwise(bounds))
    if not rising or not all(map(math.isfinite, bounds)) or not 0 <= finite <= MAX_BUCKETS or len(bounds) > MAX_BUCKETS + 1:
        raise HandlerError(f"bounds must be finite and rise, and there may be at most {MAX_BUCKETS}", path)
    return bounds


def _expiry(params: PrometheusParams) -> float:
    if params.metricsExpirationPolicy is None:
        return 0.0
    try:
        expiry = seconds(params.metricsExpirationPolicy.metricsExpiryDuration)
    except DurationError as error:
        raise HandlerError(str(error), "params.metricsExpirationPolicy.metricsExpiryDuration") from error
    if expiry <= 0:
        raise HandlerError("must be longer than zero", "params.metricsExpirationPolicy.metricsExpiryDuration")
    return expiry


PROMETHEUS = Adapter(ADAPTERS["prometheus"], build)
