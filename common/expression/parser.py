# SPDX-License-Identifier: Apache-2.0
"""Text -> syntax tree: a Pratt parser for the subset of Go's expressions that CEXL is.

The precedence is Go's, all left associative. Mind that `|`, the default operator, binds like `+` and tighter than `==`:
`a | "x" == "y"` is `(a | "x") == "y"`.
"""

from __future__ import annotations

import re
from functools import lru_cache

from common.expression.errors import ExpressionError
from common.expression.lexer import Token, tokens
from common.expression.syntax import Attribute, Call, Expression, Literal
from common.expression.types import ValueType
from common.expression.values import INT64_MAX, parse_duration

MAX_DEPTH = 60  # height of the tree; Istio 1.4 had an operand stack of 64

# Operator -> (precedence, function). Those after the first line of each level exist in Go and fail the type check here.
_BINARY = {
    "||": (1, "LOR"), "&&": (2, "LAND"),
    "==": (3, "EQ"), "!=": (3, "NEQ"), "<": (3, "LT"), "<=": (3, "LEQ"), ">": (3, "GT"), ">=": (3, "GEQ"),
    "+": (4, "ADD"), "|": (4, "OR"), "-": (4, "SUB"), "^": (4, "XOR"),
    "*": (5, "MUL"), "/": (5, "QUO"), "%": (5, "REM"), "<<": (5, "SHL"), ">>": (5, "SHR"), "&": (5, "AND"), "&^": (5, "AND_NOT"),
}  # fmt: skip
_UNARY = {"+": "ADD", "-": "SUB", "!": "NOT", "^": "XOR", "&": "AND", "<-": "ARROW"}


@lru_cache(maxsize=4096)
def parse(text: str) -> Expression:
    """Read an expression. Raises ExpressionError of kind parse, with the position of the token that cannot stand where it stands."""
    return _Parser(tokens(text)).whole()


class _Parser:
    def __init__(self, found: list[Token]) -> None:
        self._tokens = found
        self._index = 0
        self._depth = 0

    def whole(self) -> Expression:
        if self._peek().kind == "end":
            raise ExpressionError("parse", "the expression is empty", 0)
        expression = self._binary(1)
        if self._peek().text == ";" and self._tokens[self._index + 1].kind == "end":
            self._next()
        if self._peek().kind != "end":
            raise self._unexpected(self._peek())
        _check_height(expression)
        return expression

    def _binary(self, floor: int) -> Expression:
        self._enter()
        left = self._unary()
        while True:
            operator = self._peek()
            precedence, function = _BINARY.get(operator.text, (0, "")) if operator.kind == "operator" else (0, "")
            if precedence < floor or not precedence:
                break
            self._next()
            left = Call(function, None, (left, self._binary(precedence + 1)), operator.position)
        self._depth -= 1
        return left

    def _unary(self) -> Expression:
        token = self._peek()
        if token.kind != "operator" or token.text not in _UNARY:
            return self._postfix()
        self._enter()
        self._next()
        operand = self._unary()
        self._depth -= 1
        return Call(_UNARY[token.text], None, (operand,), token.position)

    def _postfix(self) -> Expression:
        """An operand with what follows it: selectors, calls, indexes."""
        start = self._peek()
        node, names = self._operand()
        method: str | None = None  # a selector after something that is not a name must be called at once
        while self._peek().kind == "operator" and self._peek().text in (".", "(", "["):
            mark = self._next()
            if mark.text == ".":
                name = self._next()
                if name.kind != "name" or method is not None:
                    raise self._unexpected(name if name.kind != "name" else mark)
                if names:
                    names.append(name.text)
                else:
                    method = name.text
            elif mark.text == "(":
                node = self._call(node, names, method, start, mark)
                names, method = [], None
            else:
                if method is not None:
                    raise ExpressionError(
                        "parse", "unexpected expression: a field of a value; only an attribute's name has dots", start.position
                    )
                base = _named(names, start.position) if names else node
                index = self._binary(1)
                self._expect("]")
                assert base is not None
                node, names = Call("INDEX", None, (base, index), mark.position), []
        if method is not None:
            raise ExpressionError("parse", "unexpected expression: a field of a value; only an attribute's name has dots", start.position)
        result = _named(names, start.position) if names else node
        assert result is not None
        return result

    def _operand(self) -> tuple[Expression | None, list[str]]:
        """A literal or parenthesis, or the first part of a dotted name."""
        token = self._next()
        if token.kind == "name":
            return None, [token.text]
        if token.text == "(" and token.kind == "operator":
            inner = self._binary(1)
            self._expect(")")
            return inner, []
        if token.kind in ("int", "float", "string", "char"):
            return _literal(token), []
        raise self._unexpected(token)

    def _call(self, node: Expression | None, names: list[str], method: str | None, start: Token, mark: Token) -> Call:
        arguments = self._arguments()
        if method is not None:
            return Call(method, node, arguments, start.position)
        if len(names) == 1:
            return Call(names[0], None, arguments, start.position)
        if names:
            return Call(names[-1], _named(names[:-1], start.position), arguments, start.position)
        raise ExpressionError("parse", "unexpected expression: only a name can be called", mark.position)

    def _arguments(self) -> tuple[Expression, ...]:
        arguments: list[Expression] = []
        while self._peek().text != ")" or self._peek().kind != "operator":
            arguments.append(self._binary(1))
            if self._peek().text != ",":
                break
            self._next()
        self._expect(")")
        return tuple(arguments)

    def _peek(self) -> Token:
        return self._tokens[self._index]

    def _next(self) -> Token:
        token = self._tokens[self._index]
        if token.kind != "end":
            self._index += 1
        return token

    def _expect(self, text: str) -> None:
        token = self._next()
        if token.kind != "operator" or token.text != text:
            found = repr(token.text) if token.kind != "end" else "the end"
            raise ExpressionError("parse", f"expected {text!r}, found {found}", token.position)

    def _enter(self) -> None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise ExpressionError("parse", f"expression is nested deeper than {MAX_DEPTH}", self._peek().position)

    @staticmethod
    def _unexpected(token: Token) -> ExpressionError:
        return ExpressionError(
            "parse", f"unexpected {token.text!r}" if token.kind != "end" else "the expression ends too early", token.position
        )


def _check_height(expression: Expression) -> None:
    """A chain `a | b | c ...` nests to the left without recursion here, but later steps walk the tree recursively."""
    level: list[Expression] = [expression]
    for _ in range(MAX_DEPTH):
        level = [child for node in level if isinstance(node, Call) for child in (*node.arguments, *((node.target,) if node.target else ()))]
        if not level:
            return
    raise ExpressionError("parse", f"expression is nested deeper than {MAX_DEPTH}", level[0].position)


def _named(names: list[str], position: int) -> Expression:
    if len(names) == 1 and names[0].lower() in ("true", "false"):
        return Literal(names[0].lower() == "true", ValueType.BOOL, names[0], position)
    return Attribute(".".join(names), position)


def _literal(token: Token) -> Literal:
    if token.kind == "int":
        digits = token.text.lstrip("0") or "0"
        if not digits.isdecimal() or len(digits) > 19 or int(digits) > INT64_MAX:
            raise ExpressionError("parse", f"invalid integer {token.text}: decimal digits only, at most {INT64_MAX}", token.position)
        return Literal(int(digits), ValueType.INT64, token.text, token.position)
    if token.kind == "float":
        number = float(token.text)
        if number in (float("inf"), float("-inf")):
            raise ExpressionError("parse", f"number {token.text} is out of range", token.position)
        return Literal(number, ValueType.DOUBLE, token.text, token.position)
    value = _unquote(token)
    duration = parse_duration(value)
    if duration is not None:
        return Literal(duration, ValueType.DURATION, token.text, token.position)
    return Literal(value, ValueType.STRING, token.text, token.position)


_ESCAPE = re.compile(r"\\(?:([abfnrtv\\'\"])|x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-7]{3})|(.))", re.DOTALL)
_SIMPLE = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "\\": "\\", "'": "'", '"': '"'}


def _unquote(token: Token) -> str:
    """Go's strconv.Unquote. `\\x..` and octal escapes are bytes of UTF-8 in Go; bytes that are not UTF-8 are refused here."""
    quote, body = token.text[0], token.text[1:-1]
    if quote == "`":
        return body.replace("\r", "")
    raw = bytearray()
    last = 0
    for found in _ESCAPE.finditer(body):
        raw += body[last : found.start()].encode()
        last = found.end()
        simple, byte, short, long, octal, _ = found.groups()
        if simple and simple not in ("'" if quote == '"' else '"'):
            raw += _SIMPLE[simple].encode()
        elif byte or (octal and int(octal, 8) < 256):
            raw.append(int(byte, 16) if byte else int(octal, 8))
        elif (short or long) and not (0xD800 <= int(short or long, 16) < 0xE000 or int(short or long, 16) > 0x10FFFF):
            raw += chr(int(short or long, 16)).encode()
        else:
            raise ExpressionError("parse", f"unknown escape {found[0]} in {token.text}", token.position)
    raw += body[last:].encode()
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        raise ExpressionError("parse", f"{token.text} is not UTF-8", token.position) from error
    if quote == "'" and len(text) != 1:
        raise ExpressionError("parse", f"{token.text}: single quotes hold one character; use double quotes", token.position)
    return text
