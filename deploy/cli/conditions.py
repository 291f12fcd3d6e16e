# SPDX-License-Identifier: Apache-2.0
"""What the conditions of a resource mean for a reader: good, bad or not known yet. For `Rejected`, True is bad."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

Condition = Mapping[str, Any]

PROGRAMMED: Final = "Programmed"
REJECTED: Final = "Rejected"


def conditions_of(document: Mapping[str, Any]) -> Sequence[Condition]:
    found: Sequence[Condition] = (document.get("status") or {}).get("conditions") or ()
    return found


def is_bad(condition: Condition) -> bool:
    return bool(condition["status"] == ("True" if condition["type"] == REJECTED else "False"))


def is_good(condition: Condition) -> bool:
    return bool(condition["status"] == ("False" if condition["type"] == REJECTED else "True"))


def in_short(document: Mapping[str, Any]) -> str:
    """One word for a table: what is bad, `ok`, or nothing when nothing is known."""
    conditions = conditions_of(document)
    bad = [
        str(condition["type"]) if condition["type"] == REJECTED else f"Not{condition['type']}"
        for condition in conditions
        if is_bad(condition)
    ]
    return ",".join(bad) or ("ok" if conditions else "")
