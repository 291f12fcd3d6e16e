# SPDX-License-Identifier: Apache-2.0
"""One checked expression -> one Python expression.

Text of a user never becomes code: names, numbers and strings go in by `repr` of checked constants, everything else as a bound constant.
CEXL's laziness is Python's: `and`, `or` and `x if c else y` evaluate exactly what Istio 1.4 evaluated, so reads are recorded alike.
None stands for nil. A test holds the result equal to `common.expression.evaluator`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, NoReturn

from common.expression import Apply, Checked, Constant, ExpressionError, Read, ValueType
from common.expression.functions import EAGER, EQUAL, add_int64, compile_pattern

_COMPARISONS = {"LT": "<", "LEQ": "<=", "GT": ">", "GEQ": ">="}
_TOTAL_FUNCTIONS = frozenset({"size", "match", "startsWith", "endsWith", "toLower", "emptyStringMap", "conditionalString"})
_INLINE = frozenset({str, int, float, bool})


def absent(name: str) -> NoReturn:
    """What strict code calls for a missing attribute."""
    raise ExpressionError("eval", f"lookup failed: '{name}'")


def plain(entries: Any) -> Any:
    """The map behind a recording one: rows that leave for an adapter hold plain values."""
    return getattr(entries, "entries", entries)


def is_total(node: Checked) -> bool:
    """Whether evaluation cannot fail whatever the bag holds. Such expressions may be moved out of the guarded code that uses them."""
    if isinstance(node, Constant):
        return True
    if isinstance(node, Read):
        return False
    arguments = node.arguments
    match node.function:
        case "OR":
            return _is_safely_nil(arguments[0]) and is_total(arguments[1])
        case "EQ" | "NEQ":
            return node.operand not in EQUAL and all(map(is_total, arguments))
        case "matches":
            return isinstance(arguments[0], Constant) and is_total(arguments[1])
        case "INDEX" | "LAND" | "LOR" | "LT" | "LEQ" | "GT" | "GEQ" | "ADD" | "conditional":
            return all(map(is_total, arguments))
        case name:
            return name in _TOTAL_FUNCTIONS and all(map(is_total, arguments))


def _is_safely_nil(node: Checked) -> bool:
    if isinstance(node, Read):
        return True
    if isinstance(node, Apply) and node.function in ("INDEX", "OR"):
        return all(map(_is_safely_nil, node.arguments))
    return is_total(node)


def reads(node: Checked) -> set[str]:
    """Names of all attributes that an expression may read."""
    if isinstance(node, Read):
        return {node.name}
    if isinstance(node, Apply):
        return set().union(*map(reads, node.arguments))
    return set()


class Emitter:
    """Writes expressions of one function. `read` gives the code that fetches an attribute: a hoisted variable, or a call that records the read."""

    def __init__(self, read: Callable[[str], str]) -> None:
        self._read = read
        self._temporaries = 0
        self._bound: dict[str, Any] = {}
        self._names: dict[Checked, str] = {}
        self.shared: dict[Checked, str] = {}
        """Expressions whose value stands in a variable already."""

    @property
    def globals(self) -> Mapping[str, Any]:
        """What the emitted code refers to."""
        return {**_RUNTIME, **self._bound}

    def bind(self, value: Any) -> str:
        name = f"k{len(self._bound)}"
        self._bound[name] = value
        return name

    def strict(self, node: Checked) -> str:
        """Code whose value is the expression's, or that raises."""
        if node in self.shared:
            return self.shared[node]
        if isinstance(node, Constant):
            return self._constant(node)
        if isinstance(node, Read):
            return self._or_else(self._read(node.name), f"absent({node.name!r})")
        if node.function == "OR":
            left, right = node.arguments
            return self._or_else(self.nillable(left), self.strict(right)) if _can_be_nil(left) else self.strict(left)
        return self._apply(node)

    def nillable(self, node: Checked) -> str:
        """Code whose value may be None for absence; what stands left of `|`."""
        if node in self.shared:
            return self.shared[node]
        if isinstance(node, Read):
            return self._read(node.name)
        if isinstance(node, Apply) and node.function == "OR":
            left, right = node.arguments
            return self._or_else(self.nillable(left), self.nillable(right)) if _can_be_nil(left) else self.strict(left)
        if isinstance(node, Apply) and node.function == "INDEX":
            return self._entry(*node.arguments)
        return self.strict(node)

    def leaving(self, node: Checked) -> str:
        """Like `strict`, for values that leave the expression world."""
        code = self.strict(node)
        return f"plain({code})" if node.type is ValueType.STRING_MAP else code

    def _entry(self, entries: Checked, key: Checked) -> str:
        source = self.nillable(entries)
        held = source if source.isidentifier() else self._temporary()
        condition = f"{source} is not None" if held == source else f"({held} := {source}) is not None"
        if not _can_be_nil(key):
            return f"({held}.get({self.strict(key)}) if {condition} else None)"
        name = self._temporary()
        return f"(({held}.get({name}) if ({name} := {self.nillable(key)}) is not None else None) if {condition} else None)"

    def _or_else(self, code: str, other: str) -> str:
        if code.isidentifier():
            return f"({code} if {code} is not None else {other})"
        name = self._temporary()
        return f"({name} if ({name} := {code}) is not None else {other})"

    def _temporary(self) -> str:
        self._temporaries += 1
        return f"t{self._temporaries}"

    def _constant(self, node: Constant) -> str:
        if type(node.value) in _INLINE:
            return repr(node.value)
        if node not in self._names:
            self._names[node] = self.bind(node.value)
        return self._names[node]

    def _apply(self, node: Apply) -> str:
        arguments = node.arguments
        match node.function:
            case "LAND":
                return f"({self.strict(arguments[0])} and {self.strict(arguments[1])})"
            case "LOR":
                return f"({self.strict(arguments[0])} or {self.strict(arguments[1])})"
            case "conditional":
                condition, yes, no = map(self.strict, arguments)
                return f"({yes} if {condition} else {no})"
            case "INDEX":
                return f"({self.strict(arguments[0])}.get({self.strict(arguments[1])}) or '')"
            case "EQ" | "NEQ":
                return self._equality(node)
            case "matches" if isinstance(arguments[0], Constant):
                search = self.bind(compile_pattern(str(arguments[0].value)).search)
                return f"({search}({self.strict(arguments[1])}) is not None)"
            case "match" if isinstance(arguments[1], Constant):
                return self._match(self.strict(arguments[0]), str(arguments[1].value))
        codes = [self.strict(argument) for argument in arguments]
        if node.function in _COMPARISONS:
            return f"({codes[0]} {_COMPARISONS[node.function]} {codes[1]})"
        if node.function == "ADD":
            return f"add_int64({codes[0]}, {codes[1]})" if node.operand is ValueType.INT64 else f"({codes[0]} + {codes[1]})"
        return f"{node.function}({', '.join(codes)})"

    def _equality(self, node: Apply) -> str:
        left, right = map(self.strict, node.arguments)
        if node.operand in EQUAL:
            return f"({'not ' if node.function == 'NEQ' else ''}same_{node.operand.name}({left}, {right}))"
        return f"({left} {'==' if node.function == 'EQ' else '!='} {right})"

    @staticmethod
    def _match(text: str, pattern: str) -> str:
        if pattern.endswith("*"):
            return f"{text}.startswith({pattern[:-1]!r})"
        if pattern.startswith("*"):
            return f"{text}.endswith({pattern[1:]!r})"
        return f"({text} == {pattern!r})"


def _can_be_nil(node: Checked) -> bool:
    if isinstance(node, Apply):
        return node.function == "INDEX" or (node.function == "OR" and all(map(_can_be_nil, node.arguments)))
    return isinstance(node, Read)


_RUNTIME: Final[Mapping[str, Any]] = {
    **EAGER,
    **{f"same_{type_.name}": function for type_, function in EQUAL.items()},
    "add_int64": add_int64,
    "absent": absent,
    "plain": plain,
}


def map_keys(node: Checked, name: str) -> frozenset[str] | None:
    """Constant keys under which an expression reads the string map `name`; None when it may read any."""
    if isinstance(node, Read):
        return None if node.name == name else frozenset()
    if isinstance(node, Constant):
        return frozenset()
    if node.function == "INDEX" and node.arguments[0] == Read(name, ValueType.STRING_MAP):
        key = node.arguments[1]
        return frozenset({str(key.value)}) if isinstance(key, Constant) else None
    found: frozenset[str] = frozenset()
    for argument in node.arguments:
        keys = map_keys(argument, name)
        if keys is None:
            return None
        found |= keys
    return found
