# SPDX-License-Identifier: Apache-2.0
"""Attribute values in JSON: `"5s"` is a DURATION where the vocabulary says so; `{"type": "DURATION", "value": "5s"}` says it itself."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address
from typing import Any

from common.expression import ValueType, Vocabulary
from common.expression.values import Duration, Timestamp, Value, parse_duration, parse_timestamp, text_of
from common.expression.vocabulary import type_named


def read_bag(attributes: Mapping[str, Any], vocabulary: Vocabulary) -> tuple[dict[str, Value], Vocabulary]:
    """The bag, and the vocabulary with the types that the attributes brought themselves. Raises ExpressionError of kind check."""
    types = dict(vocabulary)
    bag: dict[str, Value] = {}
    for name, written in attributes.items():
        value = written
        if isinstance(written, Mapping) and set(written) == {"type", "value"} and isinstance(written["type"], str):
            types[name], value = type_named(written["type"], of=name), written["value"]
        if value is None:
            continue  # absent
        type_ = types.get(name)
        if type_ is None:
            continue  # an expression that names it is told that it is unknown
        bag[name] = _read(value, type_)
    return bag, Vocabulary(types)


def _read(value: Any, type_: ValueType) -> Value:
    """The value in the class that its type asks for; left as written when it has no such form, for the evaluator to complain if it is read."""
    found: Value | None = None
    match type_, value:
        case ValueType.DOUBLE, int() if not isinstance(value, bool):
            found = float(value)
        case ValueType.DURATION, str():
            found = parse_duration(value)
        case ValueType.TIMESTAMP, str():
            found = parse_timestamp(value)
        case ValueType.IP_ADDRESS, str():
            found = _address(value)
    written: Value = value
    return written if found is None else found


def _address(text: str) -> bytes | None:
    try:
        return ip_address(text).packed
    except ValueError:
        return None


def as_json(value: Any) -> Any:
    """A value as JSON has it; durations, instants and addresses as their texts."""
    if isinstance(value, Duration | Timestamp | bytes):
        return text_of(value)
    return dict(value) if isinstance(value, Mapping) else value
