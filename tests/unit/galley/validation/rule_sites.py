# SPDX-License-Identifier: Apache-2.0
"""Which rules there are, read from the source: every place in galley.validation that can find a problem. And which of them found one.

A rule is a call of `problem`, or the use of one of the small rules of `primitives` by another module.
"""

from __future__ import annotations

import ast
import functools
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest

from galley import validation
from galley.validation import primitives

FOLDER = Path(validation.__file__).parent
PRIMITIVES = frozenset(
    name
    for name, found in vars(primitives).items()
    if inspect.isgeneratorfunction(found) and found.__module__ == primitives.__name__ and name != "each"
)


class Site(NamedTuple):
    """One rule: the line that calls it."""

    module: str
    line: int


def modules() -> Iterator[ModuleType]:
    prefix = validation.__name__ + "."
    yield from (module for name, module in sorted(sys.modules.items()) if name.startswith(prefix))


def sites() -> dict[Site, str]:
    """All rules, with their text."""
    found: dict[Site, str] = {}
    for module in modules():
        source = Path(str(module.__file__)).read_text("utf-8")
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in {"problem", *_primitives_of(module)}:
                found[Site(module.__name__, node.lineno)] = ast.unparse(node)
    return found


def _primitives_of(module: ModuleType) -> frozenset[str]:
    return frozenset() if module is primitives else PRIMITIVES


def record(monkeypatch: pytest.MonkeyPatch) -> set[Site]:
    """From now on every rule that finds something is in the set that is returned."""
    seen: set[Site] = set()
    for module in modules():
        for name in ("problem", *_primitives_of(module)):
            if hasattr(module, name):
                monkeypatch.setattr(module, name, _recording(getattr(module, name), module.__name__, seen))
    return seen


def _recording(rule: Any, module: str, seen: set[Site]) -> Any:
    if not inspect.isgeneratorfunction(rule):

        @functools.wraps(rule)
        def said(*arguments: Any, **named: Any) -> Any:
            seen.add(Site(module, sys._getframe(1).f_lineno))
            return rule(*arguments, **named)

        return said

    @functools.wraps(rule)
    def found(*arguments: Any, **named: Any) -> Iterator[Any]:
        site = Site(module, sys._getframe(1).f_lineno)

        def watched() -> Iterator[Any]:
            for each in rule(*arguments, **named):
                seen.add(site)
                yield each

        return watched()

    return found
