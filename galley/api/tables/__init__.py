# SPDX-License-Identifier: Apache-2.0
"""Tables that the server fills in and `kubectl get` only prints: every kind with the columns that matter for it."""

from galley.api.tables.table import Item, TableForm, table, wanted

__all__ = ["Item", "TableForm", "table", "wanted"]
