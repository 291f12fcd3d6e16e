# SPDX-License-Identifier: Apache-2.0
"""What a scalar without quotes is, by YAML 1.2's core schema: `country: no` stays a text, `010` and `1:30` are not secret numbers."""

from __future__ import annotations

import math
import re
from typing import Any, Final

_INTEGER: Final = re.compile(r"[-+]?(0|[1-9][0-9]*)\Z|0o[0-7]+\Z|0x[0-9a-fA-F]+\Z")
_FLOAT: Final = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?\Z")
_NOT_FINITE: Final = re.compile(r"[-+]?\.(inf|Inf|INF)\Z|\.(nan|NaN|NAN)\Z")


NOT_REPRESENTABLE: Final = object()
"""Stands for a number that JSON, or 64 bits, cannot hold."""


def plain_value(text: str) -> Any:
    """The value of a plain scalar, or NOT_REPRESENTABLE."""
    if text in ("", "~", "null", "Null", "NULL"):
        return None
    if text in ("true", "True", "TRUE"):
        return True
    if text in ("false", "False", "FALSE"):
        return False
    if _NOT_FINITE.match(text):
        return NOT_REPRESENTABLE
    if _INTEGER.match(text):
        number = int(text, 0 if text[:2] in ("0x", "0o") else 10) if len(text) <= 20 else 2**64
        return number if -(2**63) <= number < 2**63 else NOT_REPRESENTABLE
    if _FLOAT.match(text) and not (text.isdigit() and text[0] == "0"):
        real = float(text)
        return real if math.isfinite(real) else NOT_REPRESENTABLE
    return text
