# SPDX-License-Identifier: Apache-2.0
"""Brings a document into the one form that is stored, as protobuf's JSON reader and Kubernetes would.

snake_case field names become camelCase, null means absent, 5.0 is an integer where an integer belongs. With `lenient`, unknown fields are
dropped in silence, which is what Istio 1.4 did with every one of them.
"""

from __future__ import annotations

import re
from typing import Any, Final

from common.config.registry import Kind
from common.config.schema import NULL_IS_EMPTY, Schema, is_struct, resolve, schema_for

_SNAKE: Final = re.compile(r"_([a-z0-9])")


def camel_case(name: str) -> str:
    """`mirror_percent` -> `mirrorPercent`."""
    return _SNAKE.sub(lambda match: match[1].upper(), name)


def normalise(kind: Kind, document: dict[str, Any], *, lenient: bool = False) -> dict[str, Any]:
    """A new document; the given one is not changed. Whether the result is right is for `accept` to say."""
    root = schema_for(kind)
    normal = _value(document, root, root, lenient)
    assert isinstance(normal, dict)
    return normal


def normal_value(value: Any, schema: Schema) -> Any:
    """The same for a value with a schema of its own, such as the parameters of a handler."""
    return _value(value, schema, schema, False)


def _value(value: Any, schema: Schema, root: Schema, lenient: bool) -> Any:
    schema = resolve(schema, root)
    if isinstance(value, dict):
        if is_struct(schema):
            return _struct(value, schema, root, lenient)
        inner = schema.get("additionalProperties")
        return {name: _value(item, inner, root, lenient) for name, item in value.items()} if isinstance(inner, dict) else value
    if isinstance(value, list):
        items = schema.get("items")
        return [_value(item, items, root, lenient) for item in value] if items else value
    if isinstance(value, float) and schema.get("type") == "integer" and value.is_integer():
        return int(value)
    return value


def _struct(value: dict[str, Any], schema: Schema, root: Schema, lenient: bool) -> dict[str, Any]:
    fields, null_is_empty = schema["properties"], schema.get(NULL_IS_EMPTY, ())
    normal: dict[str, Any] = {}
    for written, item in value.items():
        name = _field_name(written, value, fields)
        if item is None:
            if name in null_is_empty:
                normal[name] = {}
                continue
            if name in fields:
                continue
        if name not in fields:
            if not lenient:
                normal[name] = item
            continue
        normal[name] = _value(item, fields[name], root, lenient)
    return normal


def _field_name(written: str, value: dict[str, Any], fields: dict[str, Schema]) -> str:
    if written in fields or "_" not in written:
        return written
    camel = camel_case(written)
    return camel if camel in fields and camel not in value else written
