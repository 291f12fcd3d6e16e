# SPDX-License-Identifier: Apache-2.0
"""Types: what every function takes, and Istio 1.4's words for what does not fit."""

from __future__ import annotations

import pytest

from common.expression import ExpressionError, ValueType, Vocabulary, check

VOCABULARY = Vocabulary.of_names(
    {"s": "STRING", "i": "INT64", "d": "DOUBLE", "b": "BOOL", "t": "TIMESTAMP", "ip1": "IP_ADDRESS", "dns": "DNS_NAME"}
    | {"mail": "EMAIL_ADDRESS", "u": "URI", "dur": "DURATION", "m": "STRING_MAP"}
)


@pytest.mark.parametrize(
    ("text", "type_"),
    [
        ("s", "STRING"),
        ("i == 2", "BOOL"),
        ("d < 2.0", "BOOL"),
        ("t >= t", "BOOL"),
        ("ip1 == ip(s)", "BOOL"),
        ("dns != dnsName(s)", "BOOL"),
        ("mail == email(s)", "BOOL"),
        ("u == uri(s)", "BOOL"),
        ("i + 1", "INT64"),
        ("s + s", "STRING"),
        ('dur | "5s"', "DURATION"),
        ("m | emptyStringMap()", "STRING_MAP"),
        ('m["k"]', "STRING"),
        ("conditional(b, i, 2)", "INT64"),
        ('conditionalString(b, "x", s)', "STRING"),
        ("size(s)", "INT64"),
        ("match(s, s)", "BOOL"),
        ('"x.*".matches(s)', "BOOL"),
        ("s.startsWith(s) && s.endsWith(s)", "BOOL"),
        ("toLower(s)", "STRING"),
        ("timestamp(s)", "TIMESTAMP"),
        ("EQ(i, 2)", "BOOL"),
        ("size(s, i, i)", "INT64"),
    ],
)
def test_types(text: str, type_: str) -> None:
    assert check(text, VOCABULARY) is ValueType[type_]


@pytest.mark.parametrize(
    ("text", "message", "position"),
    [
        ("nope == 2", "unknown attribute nope", 0),
        ("true == i", "EQ(true, $i) arg 2 ($i) typeError got INT64, expected BOOL", 8),
        ("match(s, 1)", "match($s, 1) arg 2 (1) typeError got INT64, expected STRING", 9),
        ('s == "0"', 'EQ($s, "0") arg 2 ("0") typeError got DURATION, expected STRING', 5),
        ("(i / i) == 30", "unknown function: QUO", 3),
        ("!b", "unknown function: NOT", 0),
        ("i - 1", "unknown function: SUB", 2),
        ("+i", "ADD($i) arity mismatch. Got 1 arg(s), expected 2 arg(s)", 0),
        ("size()", "size() arity mismatch. Got 0 arg(s), expected 1 arg(s)", 0),
        ("startsWith(s)", "invoking instance method without an instance: startsWith", 0),
        ("s.size()", "invoking regular function on instance method: size", 0),
        ("i.startsWith(s)", "$i:startsWith($s) target typeError got INT64, expected STRING", 0),
        ("reverse(s)", "unknown function: reverse", 0),
        ('dur == "5s"', "EQ is not defined for DURATION", 4),
        ("m == m", "EQ is not defined for STRING_MAP", 2),
        ("b < b", "LT is not defined for BOOL", 2),
        ("b + b", "ADD is not defined for BOOL", 2),
        ("i[s]", "INDEX($i, $s) arg 1 ($i) typeError got INT64, expected STRING_MAP", 0),
        ('"(".matches(s)', "error parsing regexp", 0),
        (f'"{"x" * 1025}".matches(s)', "longer than 1024", 0),
    ],
)
def test_what_does_not_fit(text: str, message: str, position: int) -> None:
    with pytest.raises(ExpressionError) as caught:
        check(text, VOCABULARY)
    assert (caught.value.kind, caught.value.position) == ("check", position)
    assert message in caught.value.message


def test_the_standard_vocabulary_is_istios() -> None:
    standard = Vocabulary.standard()
    assert len(standard) == 90
    assert standard["request.headers"] is ValueType.STRING_MAP
    assert standard["response.duration"] is ValueType.DURATION
    assert "target.ip" not in standard


def test_a_manifest_with_an_unknown_type_is_told_the_known_ones() -> None:
    with pytest.raises(ExpressionError, match="one of STRING, INT64"):
        Vocabulary.of_names({"a": "NUMBER"})
