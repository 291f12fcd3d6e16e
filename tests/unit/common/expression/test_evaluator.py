# SPDX-License-Identifier: Apache-2.0
"""Meaning: absence, laziness, the functions, and what is recorded as referenced."""

from __future__ import annotations

from typing import Any

import pytest

from common.expression import Evaluation, ExpressionError, Vocabulary, analyse
from common.expression.values import Duration, Timestamp, parse_timestamp

VOCABULARY = Vocabulary.of_names(
    {"s": "STRING", "s2": "STRING", "i": "INT64", "d": "DOUBLE", "b": "BOOL", "t": "TIMESTAMP", "ip1": "IP_ADDRESS"}
    | {"ip2": "IP_ADDRESS", "dns": "DNS_NAME", "mail": "EMAIL_ADDRESS", "u": "URI", "dur": "DURATION", "m": "STRING_MAP", "n": "STRING_MAP"}
)


def evaluate(text: str, bag: dict[str, Any]) -> Any:
    return Evaluation(bag).strict(analyse(text, VOCABULARY))


def referenced(text: str, bag: dict[str, Any]) -> dict[tuple[str, str | None], bool]:
    evaluation = Evaluation(bag)
    evaluation.strict(analyse(text, VOCABULARY))
    return evaluation.referenced


@pytest.mark.parametrize(
    ("text", "bag", "value"),
    [
        ('s | "x"', {}, "x"),
        ('s | "x"', {"s": ""}, ""),
        ("i | 200", {"i": 0}, 0),
        ("b | true", {"b": False}, False),
        ('s | s2 | "x"', {"s2": "y"}, "y"),
        ('s | "x" == "x"', {}, True),
        ('m["k"]', {"m": {}}, ""),
        ('m["k"] | "x"', {"m": {}}, "x"),
        ('m["k"] | "x"', {}, "x"),
        ('m["k"] | "x"', {"m": {"k": ""}}, ""),
        ('m[s] | "x"', {"m": {"k": "v"}}, "x"),
        ('m[s] | "x"', {"m": {"k": "v"}, "s": "k"}, "v"),
        ('(m | n)["k"]', {"n": {"k": "v"}}, "v"),
        ('(m | emptyStringMap())["k"]', {}, ""),
        ("true || i == 1", {}, True),
        ("false && i == 1", {}, False),
        ("conditional(true, 1, i)", {}, 1),
        ("conditional(b | false, i, 2)", {}, 2),
        ('(s + "a") | "x"', {"s": "1"}, "1a"),
        ("9223372036854775807 + 1", {}, -(2**63)),
        ('size("é")', {}, 2),
        ('match("abc", "ab*")', {}, True),
        ('match("abc", "*bc")', {}, True),
        ('match("abc", "a*c")', {}, False),
        ('match("x*", "x*")', {}, True),
        ('match("anything", "*")', {}, True),
        ('"b+".matches("abbc")', {}, True),
        ('"^b".matches("abbc")', {}, False),
        ('s.startsWith("a") && s.endsWith("c")', {"s": "abc"}, True),
        ('toLower("ABC")', {}, "abc"),
        ('ip("1.2.3.4") == ip1', {"ip1": bytes([1, 2, 3, 4])}, True),
        ("ip1 == ip2", {"ip1": bytes([1, 2, 3, 4]), "ip2": bytes(10) + b"\xff\xff" + bytes([1, 2, 3, 4])}, True),
        ('timestamp("2015-01-02T15:04:35Z") == timestamp("2015-01-02T16:04:35+01:00")', {}, True),
        ('t < timestamp("2015-01-02T15:04:35.000000001Z")', {"t": parse_timestamp("2015-01-02T15:04:35Z")}, True),
        ('dns == dnsName("example.com")', {"dns": "EXAMPLE.com."}, True),
        ('dnsName("xn--bcher-kva.example") == dnsName("BÜCHER.example")', {}, None),
        ('mail == email("Joe@EXAMPLE.com")', {"mail": "Joe@example.com"}, True),
        ('mail == email("joe@example.com")', {"mail": "Joe@example.com"}, False),
        ('u == uri("HTTP://example.COM/a")', {"u": "http://EXAMPLE.com/a"}, True),
        ('u == uri("http://example.com:80/a")', {"u": "http://example.com/a"}, False),
        ('uri("ftp://A/x") == uri("ftp://a/x")', {}, False),
        ('dur | "19ms"', {}, Duration(19_000_000)),
        ("d + 0.5", {"d": 1.0}, 1.5),
        ('s < "b"', {"s": "a"}, True),
    ],
)
def test_values(text: str, bag: dict[str, Any], value: object) -> None:
    if value is None:
        with pytest.raises(ExpressionError, match="dns name"):  # upper-case letters beyond ASCII are not allowed unmapped
            evaluate(text, bag)
    else:
        assert evaluate(text, bag) == value


@pytest.mark.parametrize(
    ("text", "bag", "message"),
    [
        ("i != 2", {}, "lookup failed: 'i'"),
        ('m["k"] == "x"', {}, "lookup failed: 'm'"),
        ("s | s2", {}, "lookup failed: 's2'"),
        ('toLower(s) | "x"', {}, "lookup failed: 's'"),
        ("match(s, s2)", {"s": 20, "s2": "x"}, "error converting value to string: '20'"),
        ('s | "x"', {"s": 20}, "error converting value to string: '20'"),
        ("i == 1", {"i": True}, "error converting value to int64"),
        ('dur | "5s"', {"dur": 5}, "error converting value to duration"),
        ('ip("10.1.12")', {}, "could not convert 10.1.12 to IP_ADDRESS"),
        ('ip("fe80::1%eth0")', {}, "could not convert"),
        ('timestamp("242233")', {}, "could not convert '242233' to TIMESTAMP"),
        ('timestamp("2015-02-30T00:00:00Z")', {}, "could not convert"),
        ("s.matches(s2)", {"s": "*", "s2": ""}, "error parsing regexp"),
        ('dnsName("a_b.example")', {}, "dns name"),
        ('dnsName("a..example")', {}, "dns name"),
        ('email("Joe <joe@example.com>")', {}, "e-mail"),
        ('email("joe@")', {}, "e-mail"),
        ('uri("")', {}, "empty string"),
        ('uri(":foo")', {}, "missing protocol scheme"),
        ('uri("http://a:b/")', {}, "invalid port"),
        ('uri("/%zz")', {}, "percent escape"),
    ],
)
def test_failures(text: str, bag: dict[str, Any], message: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        evaluate(text, bag)
    assert caught.value.kind == "eval"
    assert message in caught.value.message


@pytest.mark.parametrize(
    ("text", "bag", "reads"),
    [
        ('s | s2 | "x"', {"s2": "y"}, {("s", None): False, ("s2", None): True}),
        ('s | s2 | "x"', {"s": "y"}, {("s", None): True}),
        ('m["k"] | "x"', {"m": {"k": "v"}}, {("m", "k"): True}),
        ('m["k"] | "x"', {"m": {}}, {("m", "k"): False}),
        ('m["k"] | "x"', {}, {("m", None): False}),
        ("m | emptyStringMap()", {"m": {"k": "v"}}, {}),
        ("b || i == 1", {"b": True}, {("b", None): True}),
        ("b && i == 1", {"b": True, "i": 1}, {("b", None): True, ("i", None): True}),
        ("conditional(b, s, s2)", {"b": False, "s2": ""}, {("b", None): False} | {("b", None): True, ("s2", None): True}),
        ('(m | n)["k"]', {"n": {"k": "v"}}, {("m", None): False, ("n", "k"): True}),
        ("m[s]", {"m": {"k": "v"}, "s": "k"}, {("s", None): True, ("m", "k"): True}),
    ],
)
def test_only_what_was_read_is_referenced(text: str, bag: dict[str, Any], reads: dict[tuple[str, str | None], bool]) -> None:
    assert referenced(text, bag) == reads


def test_a_pathological_pattern_costs_nothing() -> None:
    assert evaluate('"(a+)+$".matches(s)', {"s": "a" * 5000 + "!"}) is False


def test_nanoseconds_survive() -> None:
    assert evaluate("t", {"t": Timestamp(1_420_211_075_123_456_789)}) == 1_420_211_075_123_456_789
