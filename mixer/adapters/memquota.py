# SPDX-License-Identifier: Apache-2.0
"""memquota: quota counted in this process. Counts start anew with the process, and two Mixers count apart."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from common.config.duration import DurationError, seconds
from common.config.mixer_builtin import ADAPTERS
from common.config.mixer_builtin.adapters import MemQuota, MemQuotaParams, QuotaOverride
from common.expression.values import text_of
from mixer.adapters.contract import Adapter, Allocation, Environment, HandlerSpec, decode_params
from mixer.adapters.quota_window import Cell, Counter, RollingWindow
from mixer.dispatch.result import QuotaRequest
from mixer.errors import HandlerError
from mixer.templates.shape import InstanceShape


class _Limit(NamedTuple):
    amount: int
    window: float  # seconds; 0 never refills


class _Quota(NamedTuple):
    limit: _Limit
    overrides: tuple[tuple[Mapping[str, str], _Limit], ...]

    def limit_for(self, dimensions: Mapping[str, str]) -> _Limit:
        """The first override whose dimensions all agree; a dimension that the instance lacks equals the empty text."""
        for wanted, limit in self.overrides:
            if all(dimensions.get(name, "") == value for name, value in wanted.items()):
                return limit
        return self.limit


class _Given(NamedTuple):
    granted: int
    expires: float


class MemoryQuota:
    """Counters by key, and what was answered to recent deduplication ids.

    Ids are forgotten as Istio 1.4 did: two maps, swapped every `deduplication` seconds, so each is remembered once to twice that long.
    """

    MAX_KEYS = 100_000
    """Keys come from requests; beyond this the longest unused counter is dropped, so that a flood of keys costs no memory."""

    def __init__(self, quotas: Mapping[str, _Quota], deduplication: float, environment: Environment) -> None:
        self._quotas = quotas
        self._deduplication = deduplication
        self._clock = environment.clock
        self._counters: dict[str, tuple[Counter, _Limit]] = {}
        self._recent: dict[str, _Given] = {}
        self._old: dict[str, _Given] = {}
        self._swap_at = self._clock() + deduplication

    def allocate(self, instance: InstanceShape, row: tuple[Any, ...], request: QuotaRequest) -> Allocation:
        now = self._clock()
        self._forget(now)
        given = (self._recent.get(request.dedup_id) or self._old.get(request.dedup_id)) if request.dedup_id else None
        if given is None:
            given = self._allocate(instance, row, request, now)
            if request.dedup_id:
                self._recent[request.dedup_id] = given
        return Allocation(given.granted, max(0.0, given.expires - now))

    def _allocate(self, instance: InstanceShape, row: tuple[Any, ...], request: QuotaRequest, now: float) -> _Given:
        dimensions = dict(zip(instance.map_columns("dimensions").keys, map(text_of, row[0]), strict=True))
        key = ";".join([instance.name, *(f"{name}={value}" for name, value in dimensions.items())])
        counter, limit = self._counter(key, self._quotas[instance.name], dimensions)
        if request.amount < 0:
            return _Given(-counter.give_back(-request.amount, now), now)
        enough = request.best_effort or counter.available(now) >= request.amount
        granted = counter.take(request.amount, now) if enough else 0
        return _Given(granted, now + limit.window)

    def _counter(self, key: str, quota: _Quota, dimensions: Mapping[str, str]) -> tuple[Counter, _Limit]:
        """The counter of a key. Its limit is that of the first request, and it moves to the young end of the dict."""
        found = self._counters.pop(key, None)
        if found is None:
            limit = quota.limit_for(dimensions)
            found = (RollingWindow(limit.amount, limit.window) if limit.window else Cell(limit.amount), limit)
            if len(self._counters) >= self.MAX_KEYS:
                del self._counters[next(iter(self._counters))]
        self._counters[key] = found
        return found

    def _forget(self, now: float) -> None:
        if now >= self._swap_at:
            self._old = self._recent if now < self._swap_at + self._deduplication else {}
            self._recent = {}
            self._swap_at = now + self._deduplication

    async def close(self) -> None:
        return


def build(spec: HandlerSpec, environment: Environment) -> MemoryQuota:
    params = decode_params(spec, MemQuotaParams)
    deduplication = _seconds(params.minDeduplicationDuration, "params.minDeduplicationDuration")
    if deduplication <= 0:
        raise HandlerError("must be longer than zero", "params.minDeduplicationDuration")
    quotas = {quota.name: _quota(quota, f"params.quotas[{index}]") for index, quota in enumerate(params.quotas)}
    for instance in spec.instances:
        if instance.name not in quotas:
            raise HandlerError(
                f"rules hand over {instance.name}, for which there is no quota; there are {', '.join(quotas) or 'none'}", "params.quotas"
            )
    return MemoryQuota(quotas, deduplication, environment)


def _quota(quota: MemQuota, path: str) -> _Quota:
    overrides = tuple(
        (override.dimensions, _limit(override, f"{path}.overrides[{index}]")) for index, override in enumerate(quota.overrides)
    )
    return _Quota(_limit(quota, path), overrides)


def _limit(given: MemQuota | QuotaOverride, path: str) -> _Limit:
    if given.maxAmount < 0:
        raise HandlerError("must not be negative", f"{path}.maxAmount")
    return _Limit(given.maxAmount, _seconds(given.validDuration, f"{path}.validDuration"))


def _seconds(text: str, path: str) -> float:
    try:
        value = seconds(text)
    except DurationError as error:
        raise HandlerError(str(error), path) from error
    if value < 0 or value > 86400:
        raise HandlerError("must be between 0s and 24h", path)
    return value


MEMQUOTA = Adapter(ADAPTERS["memquota"], build)
