# SPDX-License-Identifier: Apache-2.0
"""The rows of each template by name, for adapters to take apart and tests to make. Compiled rules build bare tuples of the same order."""

from __future__ import annotations

from typing import NamedTuple

from common.expression.values import Timestamp, Value


class MetricRow(NamedTuple):
    value: Value
    dimensions: tuple[Value, ...]
    monitored_resource_type: str = ""
    monitored_resource_dimensions: tuple[Value, ...] = ()


class LogEntryRow(NamedTuple):
    """`timestamp` is zero when the instance gives none."""

    variables: tuple[Value, ...]
    timestamp: Timestamp
    severity: str
    monitored_resource_type: str = ""
    monitored_resource_dimensions: tuple[Value, ...] = ()


class ListEntryRow(NamedTuple):
    value: Value


class QuotaRow(NamedTuple):
    dimensions: tuple[Value, ...]
