# SPDX-License-Identifier: Apache-2.0
"""Generated expressions that type-check, and bags for them. Every function and operator occurs."""

from __future__ import annotations

import re
from random import Random
from typing import Any

from hypothesis import strategies as st

from common.expression import ValueType, Vocabulary
from common.expression.values import Duration, Timestamp

_NAMES = {
    ValueType.STRING: ("s1", "s2"),
    ValueType.INT64: ("i1", "i2"),
    ValueType.DOUBLE: ("d1",),
    ValueType.BOOL: ("b1", "b2"),
    ValueType.TIMESTAMP: ("t1",),
    ValueType.IP_ADDRESS: ("ip1", "ip2"),
    ValueType.DURATION: ("dur1",),
    ValueType.STRING_MAP: ("m1", "m2"),
    ValueType.DNS_NAME: ("dns1",),
    ValueType.EMAIL_ADDRESS: ("mail1",),
    ValueType.URI: ("uri1",),
}
VOCABULARY = Vocabulary({name: type_ for type_, names in _NAMES.items() for name in names})

_TEXTS = ("", "a", "ab*", "*b", "k", "1.2.3.4", "example.com", "EXAMPLE.com.", "j@a.b", "http://a/b", "a+", "(", "2015-01-02T15:04:35Z")
_LITERALS: dict[ValueType, tuple[str, ...]] = {
    ValueType.STRING: tuple(f'"{text}"' for text in _TEXTS),
    ValueType.INT64: ("0", "1", "9223372036854775807"),
    ValueType.DOUBLE: ("0.0", "1.5"),
    ValueType.BOOL: ("true", "false"),
    ValueType.DURATION: ('"5s"', '"0"'),
}
_EQUATABLE = [type_ for type_ in _NAMES if type_ not in (ValueType.DURATION, ValueType.STRING_MAP)]
_ORDERED = [ValueType.STRING, ValueType.INT64, ValueType.DOUBLE, ValueType.TIMESTAMP]

# Forms of each type; `{STRING}` stands for a smaller expression of that type, `{T}` for one of the form's own type.
_ANY_TYPE = ("({T} | {T})", "({T} | {T} | {T})", "conditional({BOOL}, {T}, {T})")
_FORMS: dict[ValueType, tuple[str, ...]] = {
    ValueType.BOOL: (
        *(f"({{{each}}} {operator} {{{each}}})" for each in _EQUATABLE for operator in ("==", "!=")),
        *(f"({{{each}}} {operator} {{{each}}})" for each in _ORDERED for operator in ("<", "<=", ">", ">=")),
        *(f"({{BOOL}} {operator} {{BOOL}})" for operator in ("&&", "||") for _ in range(6)),
        *(f"({{STRING}}).{method}({{STRING}})" for method in ("matches", "startsWith", "endsWith") for _ in range(2)),
        "match({STRING}, {STRING})",
    ),
    ValueType.STRING: (
        "({STRING_MAP})[{STRING}]",
        "(({STRING_MAP})[{STRING}] | {STRING})",
        "(m1[{STRING}] | {STRING})",
        "({STRING} + {STRING})",
        "toLower({STRING})",
        "conditionalString({BOOL}, {STRING}, {STRING})",
    ),
    ValueType.INT64: ("({INT64} + {INT64})", "size({STRING})"),
    ValueType.DOUBLE: ("({DOUBLE} + {DOUBLE})",),
    ValueType.STRING_MAP: ("emptyStringMap()",),
    ValueType.IP_ADDRESS: ("ip({STRING})",),
    ValueType.TIMESTAMP: ("timestamp({STRING})",),
    ValueType.DNS_NAME: ("dnsName({STRING})",),
    ValueType.EMAIL_ADDRESS: ("email({STRING})",),
    ValueType.URI: ("uri({STRING})",),
}
_HOLE = re.compile(r"{(\w+)}")


def _write(random: Random, type_: ValueType, depth: int) -> str:
    if depth == 0 or random.random() < 0.2:
        return random.choice((*_NAMES[type_], *_LITERALS.get(type_, ())))
    form = random.choice((*_ANY_TYPE, *_FORMS.get(type_, ())))
    return _HOLE.sub(lambda hole: _write(random, type_ if hole[1] == "T" else ValueType[hole[1]], depth - 1), form)


def expressions(type_: ValueType, depth: int = 3) -> st.SearchStrategy[str]:
    """Texts of expressions of a type, grown from a seed: as strategies the grammar would be larger than memory.
    Some constant patterns are wrong; callers skip what the checker refuses."""
    return st.integers(0, 2**32).map(lambda seed: _write(Random(seed), type_, depth))


_VALUES: dict[ValueType, st.SearchStrategy[Any]] = {
    ValueType.STRING: st.sampled_from(_TEXTS),
    ValueType.INT64: st.sampled_from((0, 1, -1, 2**63 - 1)),
    ValueType.DOUBLE: st.sampled_from((0.0, 1.5, -2.0)),
    ValueType.BOOL: st.booleans(),
    ValueType.TIMESTAMP: st.sampled_from((Timestamp(0), Timestamp(1_420_211_075 * 10**9))),
    ValueType.IP_ADDRESS: st.sampled_from((bytes([1, 2, 3, 4]), bytes(10) + b"\xff\xff" + bytes([1, 2, 3, 4]), bytes(16))),
    ValueType.DURATION: st.sampled_from((Duration(0), Duration(5 * 10**9))),
    ValueType.STRING_MAP: st.dictionaries(st.sampled_from(("a", "k", "")), st.sampled_from(("", "v", "a")), max_size=2),
    ValueType.DNS_NAME: st.sampled_from(("example.com", "EXAMPLE.com.", "b")),
    ValueType.EMAIL_ADDRESS: st.sampled_from(("j@a.b", "J@A.b", "wrong")),
    ValueType.URI: st.sampled_from(("http://a/b", "HTTP://A/b", ":wrong")),
}


def bags(*, wrong_types: bool) -> st.SearchStrategy[dict[str, Any]]:
    """Bags of the vocabulary in which anything may be absent, or with `wrong_types` of another type."""
    wrong: st.SearchStrategy[Any] = st.sampled_from((5, "text", True, {"k": "v"})) if wrong_types else st.nothing()
    return st.fixed_dictionaries({}, optional={name: _VALUES[type_] | wrong for name, type_ in VOCABULARY.items()})
