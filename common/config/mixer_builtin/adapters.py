# SPDX-License-Identifier: Apache-2.0
"""The built-in adapters: which templates they take and the parameters of their handlers, with Istio 1.4's names and defaults."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar, Final, Literal, NamedTuple

from common.config.kinds.message import Message


class Status(Message, frozen=True, kw_only=True):
    """google.rpc.Status. The default code 9 is FAILED_PRECONDITION; 7 is PERMISSION_DENIED."""

    code: int = 9
    message: str = ""
    details: tuple[dict[str, Any], ...] = ()


class DenierParams(Message, frozen=True, kw_only=True):
    """Answers every check with `status`, which may be reused for `validDuration` and `validUseCount` requests."""

    status: Status = Status()
    validDuration: str = "5s"
    validUseCount: int = 1000


class ListCheckerParams(Message, frozen=True, kw_only=True):
    """A whitelist (or with `blacklist` the contrary) of the entries in `overrides` and of those fetched from `providerUrl`."""

    providerUrl: str = ""
    refreshInterval: str = "60s"
    ttl: str = "300s"
    cachingInterval: str = "300s"
    cachingUseCount: int = 10000
    overrides: tuple[str, ...] = ()
    entryType: Literal["STRINGS", "CASE_INSENSITIVE_STRINGS", "IP_ADDRESSES", "REGEX"] = "STRINGS"
    blacklist: bool = False


class QuotaOverride(Message, frozen=True, kw_only=True):
    """Another limit where all these dimensions have these values."""

    dimensions: dict[str, str] = {}
    maxAmount: int = 0
    validDuration: str = "0s"


class MemQuota(Message, frozen=True, kw_only=True):
    """`name` is the full name of a quota instance, `requestcount.instance.istio-system`. A zero `validDuration` never refills."""

    name: str
    maxAmount: int = 0
    validDuration: str = "0s"
    overrides: tuple[QuotaOverride, ...] = ()


class MemQuotaParams(Message, frozen=True, kw_only=True):
    """Counters in memory; they start anew with the process."""

    quotas: tuple[MemQuota, ...] = ()
    minDeduplicationDuration: str = "1s"


class LinearBuckets(Message, frozen=True, kw_only=True):
    numFiniteBuckets: int = 0
    width: float = 0.0
    offset: float = 0.0


class ExponentialBuckets(Message, frozen=True, kw_only=True):
    numFiniteBuckets: int = 0
    growthFactor: float = 0.0
    scale: float = 0.0


class ExplicitBuckets(Message, frozen=True, kw_only=True):
    bounds: tuple[float, ...] = ()


class Buckets(Message, frozen=True, kw_only=True):
    ONEOFS: ClassVar = (("linearBuckets", "exponentialBuckets", "explicitBuckets"),)

    linearBuckets: LinearBuckets | None = None
    exponentialBuckets: ExponentialBuckets | None = None
    explicitBuckets: ExplicitBuckets | None = None


class MetricInfo(Message, frozen=True, kw_only=True):
    """`instanceName` is the full name of a metric instance, whose dimensions must be exactly `labelNames`."""

    name: str = ""
    instanceName: str
    description: str = ""
    kind: Literal["UNSPECIFIED", "GAUGE", "COUNTER", "DISTRIBUTION"] = "UNSPECIFIED"
    buckets: Buckets | None = None
    labelNames: tuple[str, ...] = ()
    namespace: str = "istio"


class MetricsExpirationPolicy(Message, frozen=True, kw_only=True):
    """Series without an update for `metricsExpiryDuration` are dropped."""

    metricsExpiryDuration: str = "0s"
    expiryCheckIntervalDuration: str | None = None


class PrometheusParams(Message, frozen=True, kw_only=True):
    """Metrics for Prometheus to scrape from Mixer's port 42422."""

    metrics: tuple[MetricInfo, ...] = ()
    metricsExpirationPolicy: MetricsExpirationPolicy | None = None


Level = Literal["INFO", "WARNING", "ERROR"]


class StdioParams(Message, frozen=True, kw_only=True):
    """Log entries and metrics as lines. Files are written only under the directories that Mixer's settings allow."""

    logStream: Literal["STDOUT", "STDERR", "FILE", "ROTATED_FILE"] = "STDOUT"
    severityLevels: dict[str, Level] = {}
    metricLevel: Level = "INFO"
    outputAsJson: bool = True
    outputLevel: Level = "INFO"
    outputPath: str = ""
    maxMegabytesBeforeRotation: int = 100
    maxDaysBeforeRotation: int = 30
    maxRotatedFiles: int = 1000


class NoopParams(Message, frozen=True, kw_only=True):
    """Accepts everything and does nothing."""


class AdapterInfo(NamedTuple):
    """`kind` is the name of Istio 1.4's older per-adapter kind where it differs from the adapter's own."""

    name: str
    description: str
    templates: tuple[str, ...]
    params: type[Message]
    aliases: tuple[str, ...] = ()
    writes_outside: bool = False
    """Whether a handler can write files or open connections: then only administrators may make one."""


ADAPTERS: Final[Mapping[str, AdapterInfo]] = MappingProxyType(
    {
        info.name: info
        for info in (
            AdapterInfo("denier", "denies every check with a given status", ("checknothing", "listentry", "quota"), DenierParams),
            AdapterInfo("listchecker", "checks a value against a list", ("listentry",), ListCheckerParams, ("list",), True),
            AdapterInfo("memquota", "counts quota in memory", ("quota",), MemQuotaParams),
            AdapterInfo("prometheus", "exposes metrics to Prometheus", ("metric",), PrometheusParams),
            AdapterInfo("stdio", "writes log entries and metrics as lines", ("logentry", "metric"), StdioParams, (), True),
            AdapterInfo("noop", "does nothing", ("checknothing", "listentry", "quota", "reportnothing", "metric", "logentry"), NoopParams),
        )
    }
)
"""By name."""

_BY_ANY_NAME = {name: info for info in ADAPTERS.values() for name in (info.name, *info.aliases)}


def adapter_named(name: str) -> AdapterInfo | None:
    """By name or alias, as `compiledAdapter` may write it."""
    return _BY_ANY_NAME.get(name)
