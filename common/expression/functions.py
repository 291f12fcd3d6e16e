# SPDX-License-Identifier: Apache-2.0
"""The functions and operators of CEXL: their signatures, and what the eager ones compute.

`BOOL, T, T -> T` is written with VALUE_TYPE_UNSPECIFIED for the type variable T, as in Istio 1.4. The lazy ones (`&&`, `||`, `|`, `conditional`)
and INDEX have no implementation here: the evaluator and the compiler know them, for they decide what is evaluated at all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import ip_address
from typing import Any, Final

import re2

from common.expression.errors import ExpressionError
from common.expression.text_types import same_dns_name, same_email, same_uri, valid_dns_name, valid_email, valid_uri
from common.expression.types import ValueType
from common.expression.values import INT64_MAX, INT64_MIN, Timestamp, mapped, parse_timestamp

T: Final = ValueType.VALUE_TYPE_UNSPECIFIED
MAX_PATTERN = 1024  # characters of a user's regular expression

_STRING, _BOOL, _INT64, _MAP = ValueType.STRING, ValueType.BOOL, ValueType.INT64, ValueType.STRING_MAP


@dataclass(frozen=True, slots=True)
class Function:
    """`target` is the receiver's type of a method, None for a plain function. `over`, if set, limits what T may stand for."""

    name: str
    arguments: tuple[ValueType, ...]
    returns: ValueType
    target: ValueType | None = None
    over: frozenset[ValueType] | None = None


def _over(*types: ValueType) -> frozenset[ValueType]:
    return frozenset(types)


_EQUATABLE = frozenset(ValueType) - _over(T, ValueType.DURATION, ValueType.STRING_MAP)
_ORDERED = _over(_STRING, _INT64, ValueType.DOUBLE, ValueType.TIMESTAMP)
_ADDABLE = _over(_STRING, _INT64, ValueType.DOUBLE)

FUNCTIONS: Final[Mapping[str, Function]] = {
    function.name: function
    for function in (
        Function("EQ", (T, T), _BOOL, over=_EQUATABLE),
        Function("NEQ", (T, T), _BOOL, over=_EQUATABLE),
        Function("LT", (T, T), _BOOL, over=_ORDERED),
        Function("LEQ", (T, T), _BOOL, over=_ORDERED),
        Function("GT", (T, T), _BOOL, over=_ORDERED),
        Function("GEQ", (T, T), _BOOL, over=_ORDERED),
        Function("LAND", (_BOOL, _BOOL), _BOOL),
        Function("LOR", (_BOOL, _BOOL), _BOOL),
        Function("OR", (T, T), T),
        Function("ADD", (T, T), T, over=_ADDABLE),
        Function("INDEX", (_MAP, _STRING), _STRING),
        Function("conditional", (_BOOL, T, T), T),
        Function("conditionalString", (_BOOL, _STRING, _STRING), _STRING),
        Function("size", (_STRING,), _INT64),
        Function("match", (_STRING, _STRING), _BOOL),
        Function("matches", (_STRING,), _BOOL, target=_STRING),
        Function("startsWith", (_STRING,), _BOOL, target=_STRING),
        Function("endsWith", (_STRING,), _BOOL, target=_STRING),
        Function("toLower", (_STRING,), _STRING),
        Function("ip", (_STRING,), ValueType.IP_ADDRESS),
        Function("timestamp", (_STRING,), ValueType.TIMESTAMP),
        Function("dnsName", (_STRING,), ValueType.DNS_NAME),
        Function("email", (_STRING,), ValueType.EMAIL_ADDRESS),
        Function("uri", (_STRING,), ValueType.URI),
        Function("emptyStringMap", (), _MAP),
    )
}
"""By name. Operators may even be called by theirs, as in Istio 1.4. `reverse` belongs to its CEL and COMPAT modes only."""


def match(text: str, pattern: str) -> bool:
    """`prefix*`, `*suffix` or an exact text; no other wildcards. A trailing star is looked at first."""
    if pattern.endswith("*"):
        return text.startswith(pattern[:-1])
    if pattern.startswith("*"):
        return text.endswith(pattern[1:])
    return text == pattern


@lru_cache(maxsize=4096)
def compile_pattern(pattern: str) -> Any:
    """A compiled RE2 pattern of the configuration, kept. Raises ExpressionError of kind eval."""
    return new_pattern(pattern)


def new_pattern(pattern: str) -> Any:
    """As `compile_pattern`, for one that is not ours to keep."""
    if len(pattern) > MAX_PATTERN:
        raise ExpressionError("eval", f"regular expression is longer than {MAX_PATTERN} characters")
    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        reason = error.args[0].decode() if error.args and isinstance(error.args[0], bytes) else str(error)
        raise ExpressionError("eval", f"error parsing regexp: {reason}: `{pattern}`") from error


def matches(pattern: str, text: str) -> bool:
    """The receiver is the pattern and the argument the text, the other way round than in CEL; not anchored."""
    return compile_pattern(pattern).search(text) is not None


def ip(text: str) -> bytes:
    """An address in 16 octets, IPv4 mapped into IPv6."""
    try:
        if "%" in text:
            raise ValueError("zones are not part of an address")
        return mapped(ip_address(text).packed)
    except ValueError as error:
        raise ExpressionError("eval", f"could not convert {text} to IP_ADDRESS") from error


def timestamp(text: str) -> Timestamp:
    found = parse_timestamp(text)
    if found is None:
        raise ExpressionError("eval", f"could not convert '{text}' to TIMESTAMP. expected format: '2006-01-02T15:04:05Z07:00'")
    return found


def same_ip(left: bytes, right: bytes) -> bool:
    return mapped(left) == mapped(right)


def add_int64(left: int, right: int) -> int:
    """Addition that wraps at 64 bits, like Go's."""
    total = left + right
    return total if INT64_MIN <= total <= INT64_MAX else (total - INT64_MIN) % (1 << 64) + INT64_MIN


def size(text: str) -> int:
    """The length in bytes of UTF-8."""
    return len(text) if text.isascii() else len(text.encode())


EAGER: Final[Mapping[str, Callable[..., Any]]] = {
    "size": size,
    "match": match,
    "matches": matches,
    "startsWith": str.startswith,
    "endsWith": str.endswith,
    "toLower": str.lower,
    "ip": ip,
    "timestamp": timestamp,
    "dnsName": valid_dns_name,
    "email": valid_email,
    "uri": valid_uri,
    "emptyStringMap": dict,
    "conditionalString": lambda condition, yes, no: yes if condition else no,
}
"""What a function computes from its receiver and arguments, all evaluated before."""

EQUAL: Final[Mapping[ValueType, Callable[[Any, Any], bool]]] = {
    ValueType.IP_ADDRESS: same_ip,
    ValueType.DNS_NAME: same_dns_name,
    ValueType.EMAIL_ADDRESS: same_email,
    ValueType.URI: same_uri,
}
"""Equality of the types where it is not that of the Python value."""
