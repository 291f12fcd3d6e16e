# SPDX-License-Identifier: Apache-2.0
"""What no value of any kind may hold: control characters, half characters, and nesting without end.

YAML and JSON can both write such characters with escapes. Databases, headers and terminals break on them, far from who wrote them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final, TypeAlias

import orjson

from common.config.problem import Path, Problem, problem

MAX_DEPTH: Final = 64
"""How many mappings and lists may stand in one another."""

_BAD: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")

_SUSPICIOUS: Final = (rb"\u00", rb"\b", rb"\f", b"\x7f")
"""How JSON writes control characters; a backslash of the text itself may look the same, and is then looked at more closely."""

_Place: TypeAlias = "tuple[_Place, str | int] | None"
"""A path as a chain, so that it costs something only where there is a problem."""


def impurities(value: Any) -> Iterator[Problem]:
    """Problems of plain values, wherever in them. Nothing recurses, so that depth cannot exhaust the stack."""
    return iter(()) if _is_surely_pure(value) else _search(value)


def _is_surely_pure(value: Any) -> bool:
    """The quick verdict over most documents: their JSON, made in C, has nothing in it that could be bad, and too few brackets to be deep."""
    try:
        text = orjson.dumps(value)
    except (TypeError, ValueError):  # half characters among others
        return False
    return not any(mark in text for mark in _SUSPICIOUS) and text.count(b"{") + text.count(b"[") <= MAX_DEPTH


def _search(value: Any) -> Iterator[Problem]:
    todo: list[tuple[Any, _Place, int]] = [(value, None, 0)]
    while todo:
        here, place, depth = todo.pop()
        if isinstance(here, str):
            if (bad := _BAD.search(here)) is not None:
                yield problem(_path(place), _sentence("the text", bad))
        elif isinstance(here, dict | list):
            if depth == MAX_DEPTH:
                yield problem(_path(place)[:8], f"nested more than {MAX_DEPTH} levels deep")
                return
            for step, item in here.items() if isinstance(here, dict) else enumerate(here):
                if isinstance(step, str) and (bad := _BAD.search(step)) is not None:
                    yield problem(_path(place), _sentence("a key", bad))
                if isinstance(item, str | dict | list):
                    todo.append((item, (place, step), depth + 1))


def _sentence(what: str, bad: re.Match[str]) -> str:
    kind = "half of a character" if bad[0] >= "\ud800" else "a control character"
    return f"{what} holds {kind} (U+{ord(bad[0]):04X}); remove it"


def _path(place: _Place) -> Path:
    """As far as it can be shown."""
    steps: list[str | int] = []
    while place is not None:
        place, step = place
        steps.append(step)
    whole = tuple(reversed(steps))
    return next((whole[:end] for end, step in enumerate(whole) if isinstance(step, str) and _BAD.search(step)), whole)
