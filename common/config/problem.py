# SPDX-License-Identifier: Apache-2.0
"""What is wrong with a document, said to a person: where, what, what was expected and what to do."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Sequence
from typing import Final, TypeAlias

import msgspec

Path: TypeAlias = tuple[str | int, ...]
"""Steps from the top of a document: field names and list indexes."""

LONGEST: Final = 1000
"""Characters of a message, or of one step of a path, that are shown."""

_PLAIN: Final = re.compile(r"[A-Za-z_$][\w$-]*\Z")
_STEP: Final = re.compile(r'\[(\d+)\]|\["((?:[^"\\]|\\.)*)"\]|\.?([A-Za-z_$][\w$-]*)')


class Problem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One mistake. `path` is `spec.http[0].route[1].weight`; lines and columns count from 1; `line` is None when no file is known."""

    path: str
    message: str
    expected: str = ""
    found: str = ""
    line: int | None = None
    column: int | None = None

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


def problem(path: Path, message: str, *, expected: str = "", found: str = "") -> Problem:
    """A problem at a place that is given in steps. What was expected is said in the message, unless the sentence says it already."""
    if expected and expected not in message:
        message = f"{message}; expected {expected}"
    return Problem(path=render_path(path), message=_shortened(message), expected=_shortened(expected), found=_shortened(found))


def _shortened(text: str) -> str:
    """Somebody may have written a megabyte where a name belongs; its beginning and its end say enough."""
    return text if len(text) <= LONGEST else f"{text[: LONGEST // 2]} … {text[-LONGEST // 3 :]}"


MOST: Final = 100
"""How many problems of one document are looked for. Who has more of them mends these first."""


def bounded(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """The first of them; when there are more, the last says so. Nothing after it is even looked for."""
    found = tuple(itertools.islice(problems, MOST + 1))
    if len(found) <= MOST:
        return found
    return (*found[:MOST], Problem(path="", message=f"there are more than {MOST} problems; the others are not shown"))


def render_path(path: Sequence[str | int]) -> str:
    """`("spec", "http", 0)` -> `spec.http[0]`; keys that are no plain names are quoted: `metadata.labels["app.io/name"]`."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        elif len(step) > LONGEST:
            text += f'["{_shortened(step)}"]'
        elif _PLAIN.match(step):
            text += f".{step}" if text else step
        else:
            text += '["' + step.replace("\\", "\\\\").replace('"', '\\"') + '"]'
    return text


def parse_path(text: str) -> Path:
    """The inverse of `render_path`; what cannot be read ends the path, so that a stranger's path still leads near its place."""
    steps: list[str | int] = []
    position = 0
    while position < len(text) and (step := _STEP.match(text, position)):
        index, quoted, plain = step.groups()
        if index is not None:
            steps.append(int(index))
        else:
            steps.append(plain if quoted is None else re.sub(r"\\(.)", r"\1", quoted))
        position = step.end()
    return tuple(steps)
