# SPDX-License-Identifier: Apache-2.0
"""The reference evaluator: walks a checked tree and says what an expression means.

Mixer's compiler must agree with it (a property test holds them together); the CLI uses it because one evaluation does not pay for a compilation.
Two ways to evaluate a node. *Strictly*: an absent attribute is an error. *Nillably*, left of `|`: absence makes nil, and the right side answers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from common.expression.checker import Apply, Checked, Constant, Read
from common.expression.errors import ExpressionError
from common.expression.functions import EAGER, EQUAL, add_int64
from common.expression.types import ValueType
from common.expression.values import Value, fits, wrong_type

NIL: Final[Any] = None
"""What a nillable evaluation gives for absence."""


class Evaluation:
    """One evaluation over one bag. `referenced` maps (attribute, map key or None) to whether it was present, in the order of the reads."""

    def __init__(self, bag: Mapping[str, Value]) -> None:
        self._bag = bag
        self.referenced: dict[tuple[str, str | None], bool] = {}

    def strict(self, node: Checked) -> Any:
        """The value; raises ExpressionError of kind eval where there is none."""
        if isinstance(node, Constant):
            return node.value
        if isinstance(node, Read):
            value = self._read(node)
            if value is NIL:
                raise ExpressionError("eval", f"lookup failed: '{node.name}'")
            return value
        return self._apply(node)

    def nillable(self, node: Checked) -> Any:
        """The value or NIL. Only names, indexes and `|` can be nil; everything else is strict inside."""
        if isinstance(node, Read):
            return self._read(node)
        if isinstance(node, Apply) and node.function == "INDEX":
            entries = self.nillable(node.arguments[0])
            if entries is NIL:
                return NIL
            key = self.nillable(node.arguments[1])
            return NIL if key is NIL else self._entry(node.arguments[0], entries, key)
        if isinstance(node, Apply) and node.function == "OR":
            value = self.nillable(node.arguments[0])
            return self.nillable(node.arguments[1]) if value is NIL else value
        return self.strict(node)

    def _read(self, node: Read) -> Any:
        value = self._bag.get(node.name)
        if value is not None and not fits(value, node.type):
            raise wrong_type(node.type, value)
        if value is None or node.type is not ValueType.STRING_MAP:
            self.referenced[node.name, None] = value is not None
        return value

    def _entry(self, source: Checked, entries: Mapping[str, str], key: str) -> Any:
        value = entries.get(key)
        name = self._origin(source, entries)
        if name is not None:
            self.referenced[name, key] = value is not None
        return value

    def _origin(self, source: Checked, entries: Mapping[str, str]) -> str | None:
        """Which attribute a map value is, seen through `|` and conditional; None for an empty map made by a function."""
        if isinstance(source, Read):
            return source.name if self._bag.get(source.name) is entries else None
        if isinstance(source, Apply):
            found = (self._origin(argument, entries) for argument in source.arguments if argument.type is ValueType.STRING_MAP)
            return next((name for name in found if name is not None), None)
        return None

    def _apply(self, node: Apply) -> Any:
        arguments = node.arguments
        match node.function:
            case "LAND":
                return self.strict(arguments[0]) and self.strict(arguments[1])
            case "LOR":
                return self.strict(arguments[0]) or self.strict(arguments[1])
            case "OR":
                value = self.nillable(arguments[0])
                return self.strict(arguments[1]) if value is NIL else value
            case "conditional":
                return self.strict(arguments[1] if self.strict(arguments[0]) else arguments[2])
            case "INDEX":
                entries, key = self.strict(arguments[0]), self.strict(arguments[1])
                value = self._entry(arguments[0], entries, key)
                return "" if value is None else value
        values = [self.strict(argument) for argument in arguments]
        match node.function:
            case "EQ":
                return _equal(node.operand, *values)
            case "NEQ":
                return not _equal(node.operand, *values)
            case "LT":
                return values[0] < values[1]
            case "LEQ":
                return values[0] <= values[1]
            case "GT":
                return values[0] > values[1]
            case "GEQ":
                return values[0] >= values[1]
            case "ADD":
                return add_int64(*values) if node.operand is ValueType.INT64 else values[0] + values[1]
        return EAGER[node.function](*values)


def _equal(type_: ValueType, left: Any, right: Any) -> bool:
    special = EQUAL.get(type_)
    return special(left, right) if special else bool(left == right)
