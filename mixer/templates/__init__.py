# SPDX-License-Identifier: Apache-2.0
"""What adapters are handed: one small module for each template."""

from mixer.templates.rows import ListEntryRow, LogEntryRow, MetricRow, QuotaRow
from mixer.templates.shape import Columns, InstanceShape, shape_instance

__all__ = ["Columns", "InstanceShape", "ListEntryRow", "LogEntryRow", "MetricRow", "QuotaRow", "shape_instance"]
