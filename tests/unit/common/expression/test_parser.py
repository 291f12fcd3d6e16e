# SPDX-License-Identifier: Apache-2.0
"""Reading: precedence, literals and the places where Go's grammar surprises."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.expression import ExpressionError, parse
from common.expression.syntax import Literal
from common.expression.types import ValueType
from common.expression.values import Duration


@pytest.mark.parametrize(
    ("text", "rendered"),
    [
        ("a", "$a"),
        ("request.headers", "$request.headers"),
        ('a | "x" == "y"', 'EQ(OR($a, "x"), "y")'),
        ('a | "u" + "b"', 'ADD(OR($a, "u"), "b")'),
        ("a | b | c", "OR(OR($a, $b), $c)"),
        ("a == b && c || d", "LOR(LAND(EQ($a, $b), $c), $d)"),
        ("a == b == c", "EQ(EQ($a, $b), $c)"),
        ("1 + 2 * 3", "ADD(1, MUL(2, 3))"),
        ("(a || b) && c", "LAND(LOR($a, $b), $c)"),
        ('m["k"]["l"]', 'INDEX(INDEX($m, "k"), "l")'),
        ("m[a | b]", "INDEX($m, OR($a, $b))"),
        ("f(a, b,)", "f($a, $b)"),
        ("f()", "f()"),
        ('request.path.startsWith("/x")', '$request.path:startsWith("/x")'),
        ('"lit".matches(a)', '"lit":matches($a)'),
        ("(a | b).endsWith(c)", "OR($a, $b):endsWith($c)"),
        ("f(x).g(y)", "f($x):g($y)"),
        ('m["k"].startsWith("x")', 'INDEX($m, "k"):startsWith("x")'),
        ("!a", "NOT($a)"),
        ("-1", "SUB(1)"),
        ("a /* comment */ && // to the end\n b", "LAND($a, $b)"),
        ("a &&\n b\n", "LAND($a, $b)"),
        ("a;", "$a"),
        ("TRUE", "TRUE"),
    ],
)
def test_grammar(text: str, rendered: str) -> None:
    assert str(parse(text)) == rendered


@pytest.mark.parametrize(
    ("text", "type_", "value"),
    [
        ("42", ValueType.INT64, 42),
        ("010", ValueType.INT64, 10),
        ("9223372036854775807", ValueType.INT64, 2**63 - 1),
        ("4.5", ValueType.DOUBLE, 4.5),
        (".5e1", ValueType.DOUBLE, 5.0),
        ("True", ValueType.BOOL, True),
        ("fAlSe", ValueType.BOOL, False),
        ('"text"', ValueType.STRING, "text"),
        ("`raw\\n`", ValueType.STRING, "raw\\n"),
        ("'x'", ValueType.STRING, "x"),
        (r'"a\tb\"\\\u00e9\x41\101"', ValueType.STRING, 'a\tb"\\éAA'),
        ('"5m"', ValueType.DURATION, Duration(300 * 10**9)),
        ('"1h30.5s"', ValueType.DURATION, Duration(3630 * 10**9 + 5 * 10**8)),
        ('"-2ms"', ValueType.DURATION, Duration(-2_000_000)),
        ('"0"', ValueType.DURATION, Duration(0)),
        ('"5"', ValueType.STRING, "5"),
        ('"5 m"', ValueType.STRING, "5 m"),
        ('""', ValueType.STRING, ""),
    ],
)
def test_literals(text: str, type_: ValueType, value: object) -> None:
    node = parse(text)
    assert isinstance(node, Literal)
    assert (node.type, node.value, type(node.value)) == (type_, value, type(value))


@pytest.mark.parametrize(
    ("text", "position", "words"),
    [
        ("", 0, "empty"),
        ("a = 2", 2, "unexpected '='"),
        ("@23", 0, "illegal character '@'"),
        ("a ==", 4, "ends too early"),
        ("a b", 2, "unexpected 'b'"),
        ("f(a", 3, "expected ')'"),
        ('m["k"', 5, "expected ']'"),
        ('"open', 0, "not terminated"),
        ("0x10", 0, "invalid integer"),
        ("9223372036854775808", 0, "invalid integer"),
        ("1e999", 0, "out of range"),
        ("a.type", 2, "keyword"),
        ("a\n&& b", 1, "ends at the newline"),
        ('f(a).b == "c"', 0, "unexpected expression"),
        ('m["k"].x', 0, "unexpected expression"),
        ("f(a)(b)", 4, "only a name can be called"),
        ("'xy'", 0, "one character"),
        (r'"\q"', 0, "unknown escape"),
        ("a..b", 2, "unexpected '.'"),
        ("m[1:2]", 3, "expected ']'"),
        ("(" * 100 + "a" + ")" * 100, 60, "deeper than"),
        (" + ".join(["a"] * 100), 154, "deeper than"),
    ],
)
def test_what_cannot_be_read_says_where(text: str, position: int, words: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        parse(text)
    assert caught.value.kind == "parse"
    assert words in caught.value.message
    assert caught.value.position == position


def test_a_chain_of_defaults_as_long_as_people_write_is_read() -> None:
    assert str(parse(" | ".join(["a"] * 40))).count("OR(") == 39


@given(st.text(max_size=60) | st.text(alphabet="abm.()[]|&=+<>!\"`'\\ \n0123456789x,;/*", max_size=60))
def test_no_text_breaks_the_parser(text: str) -> None:
    error = None
    try:
        parse(text)
    except ExpressionError as caught:
        error = caught
    assert error is None or (error.kind == "parse" and error.position is not None and 0 <= error.position <= len(text))
