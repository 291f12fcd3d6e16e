# SPDX-License-Identifier: Apache-2.0
"""The built-in templates. Every leaf of an instance's parameters is the text of an expression."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Literal, NamedTuple

from common.config.kinds.message import Message

Variety = Literal["CHECK", "REPORT", "QUOTA"]


class MetricParams(Message, frozen=True, kw_only=True):
    """One observation: a number (or duration) with dimensions. Any type may stand in a dimension."""

    value: str = ""
    dimensions: dict[str, str] = {}
    monitoredResourceType: str = ""
    monitoredResourceDimensions: dict[str, str] = {}


class LogEntryParams(Message, frozen=True, kw_only=True):
    """One log line. `severity` is an expression too: write '"Info"' for a constant."""

    variables: dict[str, str] = {}
    timestamp: str = ""
    severity: str = ""
    monitoredResourceType: str = ""
    monitoredResourceDimensions: dict[str, str] = {}


class CheckNothingParams(Message, frozen=True, kw_only=True):
    """No data: the adapter is asked anyway."""


class ReportNothingParams(Message, frozen=True, kw_only=True):
    """No data: the adapter is told that something happened."""


class ListEntryParams(Message, frozen=True, kw_only=True):
    """The value that is looked up in a list."""

    value: str = ""


class QuotaParams(Message, frozen=True, kw_only=True):
    """What distinguishes one counter of a quota from another."""

    dimensions: dict[str, str] = {}


class TemplateInfo(NamedTuple):
    """`fields` gives the types that plain fields must have; what is not named there may be of any type."""

    name: str
    variety: Variety
    params: type[Message]
    fields: Mapping[str, str] = MappingProxyType({})


_MONITORED = {"monitoredResourceType": "STRING"}

TEMPLATES: Final[Mapping[str, TemplateInfo]] = MappingProxyType(
    {
        info.name: info
        for info in (
            TemplateInfo("checknothing", "CHECK", CheckNothingParams),
            TemplateInfo("listentry", "CHECK", ListEntryParams),
            TemplateInfo("quota", "QUOTA", QuotaParams),
            TemplateInfo("reportnothing", "REPORT", ReportNothingParams),
            TemplateInfo("metric", "REPORT", MetricParams, _MONITORED),
            TemplateInfo("logentry", "REPORT", LogEntryParams, {"severity": "STRING", "timestamp": "TIMESTAMP", **_MONITORED}),
        )
    }
)
"""By name."""
