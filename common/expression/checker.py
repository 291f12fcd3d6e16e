# SPDX-License-Identifier: Apache-2.0
"""Type check: syntax tree + vocabulary -> checked tree, in which every name is known, every call resolved and every node typed.

Checked nodes hold no positions and compare by value, so that the compiler can see that two expressions are the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from common.expression.errors import ExpressionError
from common.expression.functions import FUNCTIONS, Function, T, compile_pattern
from common.expression.parser import parse
from common.expression.syntax import Attribute, Call, Expression, Literal
from common.expression.types import ValueType
from common.expression.values import Value


@dataclass(frozen=True, slots=True)
class Constant:
    value: Value
    type: ValueType


@dataclass(frozen=True, slots=True)
class Read:
    """The value of an attribute."""

    name: str
    type: ValueType


@dataclass(frozen=True, slots=True)
class Apply:
    """A resolved call. `arguments` begin with the receiver of a method. `operand` is what T stands for, or the first argument's type."""

    function: str
    arguments: tuple[Checked, ...]
    type: ValueType
    operand: ValueType


Checked: TypeAlias = Constant | Read | Apply


def analyse(text: str, vocabulary: Mapping[str, ValueType]) -> Checked:
    """Parse and check. Raises ExpressionError of kind parse or check."""
    return check_tree(parse(text), vocabulary)


def check(text: str, vocabulary: Mapping[str, ValueType]) -> ValueType:
    """The type of an expression. Raises ExpressionError of kind parse or check."""
    return analyse(text, vocabulary).type


def check_tree(node: Expression, vocabulary: Mapping[str, ValueType]) -> Checked:
    """Check a parsed expression. Raises ExpressionError of kind check at the position of the wrong part."""
    if isinstance(node, Literal):
        return Constant(node.value, node.type)
    if isinstance(node, Attribute):
        type_ = vocabulary.get(node.name)
        if type_ is None:
            raise ExpressionError("check", f"unknown attribute {node.name}", node.position)
        return Read(node.name, type_)
    function = FUNCTIONS.get(node.function)
    if function is None:
        raise ExpressionError("check", f"unknown function: {node.function}", node.position)
    return _call(node, function, vocabulary)


def _call(node: Call, function: Function, vocabulary: Mapping[str, ValueType]) -> Apply:
    arguments: list[Checked] = []
    if node.target is not None:
        if function.target is None:
            raise ExpressionError("check", f"invoking regular function on instance method: {node.function}", node.position)
        receiver = check_tree(node.target, vocabulary)
        if receiver.type is not function.target:
            raise ExpressionError("check", f"{node} target typeError got {receiver.type}, expected {function.target}", node.target.position)
        arguments.append(receiver)
    elif function.target is not None:
        raise ExpressionError("check", f"invoking instance method without an instance: {node.function}", node.position)

    expected = function.arguments
    if len(node.arguments) < len(expected):
        message = f"{node} arity mismatch. Got {len(node.arguments)} arg(s), expected {len(expected)} arg(s)"
        raise ExpressionError("check", message, node.position)

    common = T  # what T stands for: the type of its first use
    for index, (wanted, given) in enumerate(zip(expected, node.arguments, strict=False), 1):  # more arguments are ignored, as in Istio 1.4
        argument = check_tree(given, vocabulary)
        if wanted is T:
            common = common or argument.type
            wanted = common
        if argument.type is not wanted:
            message = f"{node} arg {index} ({given}) typeError got {argument.type}, expected {wanted}"
            raise ExpressionError("check", message, given.position)
        arguments.append(argument)

    if function.over is not None and common not in function.over:
        raise ExpressionError("check", f"{node}: {function.name} is not defined for {common}", node.position)
    if function.name == "matches" and isinstance(arguments[0], Constant):
        _check_pattern(str(arguments[0].value), node)
    returns = common if function.returns is T else function.returns
    return Apply(function.name, tuple(arguments), returns, common or (arguments[0].type if arguments else T))


def _check_pattern(pattern: str, node: Call) -> None:
    """A constant pattern that cannot be compiled would fail on every request: say so now."""
    try:
        compile_pattern(pattern)
    except ExpressionError as error:
        raise ExpressionError("check", error.message, node.position) from error
