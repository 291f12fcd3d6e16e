# SPDX-License-Identifier: Apache-2.0
"""Durations as configuration writes them: protobuf's `7s` and `0.5s`, and Go's `1m30s` and `500ms`, which Istio's users also write."""

from __future__ import annotations

import re
from typing import Final

_UNITS: Final = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_TERM: Final = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(h|ms|m|s|us|µs|ns)")

MAX_SECONDS: Final = 315_576_000_000.0
"""protobuf's limit: about 10,000 years."""


class DurationError(ValueError):
    """The text is no duration."""


def seconds(text: str) -> float:
    """`"7s"` -> 7.0, `"1m30s"` -> 90.0, `"0"` -> 0.0. Raises DurationError; the message shows the forms that are understood."""
    sign, unsigned = (-1.0, text[1:]) if text.startswith("-") else (1.0, text)
    if unsigned == "0":
        return 0.0
    position, total = 0, 0.0
    while position < len(unsigned):
        term = _TERM.match(unsigned, position)
        if term is None:
            break
        total += float(term[1]) * _UNITS[term[2]]
        position = term.end()
    if position == 0 or position != len(unsigned):
        raise DurationError(f"{text!r} is not a duration; write for example 7s, 0.5s, 500ms or 1m30s")
    if total > MAX_SECONDS:
        raise DurationError(f"{text!r} is longer than a duration may be ({MAX_SECONDS:.0f}s)")
    return sign * total
