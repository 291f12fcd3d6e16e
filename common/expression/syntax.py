# SPDX-License-Identifier: Apache-2.0
"""The syntax tree of an expression. Operators are calls of functions with Istio's names (`EQ`, `LAND`, `OR`, `INDEX`, ...), as in Istio 1.4."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from common.expression.types import ValueType
from common.expression.values import Value


@dataclass(frozen=True, slots=True)
class Literal:
    """`source` is the text as written; a string that Go's ParseDuration accepts is a DURATION."""

    value: Value
    type: ValueType
    source: str
    position: int

    def __str__(self) -> str:
        return self.source


@dataclass(frozen=True, slots=True)
class Attribute:
    """A dotted name: one flat attribute, never a path into something."""

    name: str
    position: int

    def __str__(self) -> str:
        return f"${self.name}"


@dataclass(frozen=True, slots=True)
class Call:
    """A function, operator or index; `target` is the receiver of a method."""

    function: str
    target: Expression | None
    arguments: tuple[Expression, ...]
    position: int

    def __str__(self) -> str:
        receiver = f"{self.target}:" if self.target is not None else ""
        return f"{receiver}{self.function}({', '.join(map(str, self.arguments))})"


Expression: TypeAlias = Literal | Attribute | Call
"""`str()` of a node is the postfix rendering that error messages use: `EQ($request.size, 2)`."""
