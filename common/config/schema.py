# SPDX-License-Identifier: Apache-2.0
"""The closed JSON Schema of a kind's documents, derived from its typed spec.

Written over `msgspec.inspect` instead of `msgspec.json.schema`: an optional field is then its own type (not a choice with null, which
hides the real mistake one level up), unknown fields are refused, and oneofs are said.
"""

from __future__ import annotations

import inspect as python_inspect
import itertools
from functools import cache
from typing import Any, Final, cast

from msgspec import inspect

from common.config.kinds.message import Message
from common.config.registry import Kind

Schema = dict[str, Any]

ONEOF: Final = "x-oneof"
NULL_IS_EMPTY: Final = "x-null-is-empty"
INTEGER_LIMITS: Final = {"minimum": -(2**31), "maximum": 2**32 - 1}
"""Istio's integers are int32 and uint32."""

_TEXT: Final[Schema] = {"type": "string"}
_TEXT_MAP: Final[Schema] = {"type": "object", "additionalProperties": _TEXT}
_ANY: Final[Schema] = {}

METADATA: Final[Schema] = {
    "type": "object",
    "properties": {
        "name": _TEXT,
        "namespace": _TEXT,
        "labels": _TEXT_MAP,
        "annotations": _TEXT_MAP,
        "creationTimestamp": _TEXT,
        "generation": {"type": "integer"},
        "resourceVersion": _TEXT,
        "uid": _TEXT,
    }
    # Written by Kubernetes' own tools; accepted, so that what `kubectl get -o yaml` prints can be applied again.
    | dict.fromkeys(
        (
            "managedFields",
            "ownerReferences",
            "finalizers",
            "selfLink",
            "generateName",
            "deletionTimestamp",
            "deletionGracePeriodSeconds",
            "clusterName",
        ),
        _ANY,
    ),
    "required": ["name"],
    "additionalProperties": False,
}


@cache
def schema_for(kind: Kind) -> Schema:
    """The JSON Schema (2020-12) of a whole document of this kind. Do not change what is returned: it is shared."""
    definitions: dict[str, Schema] = {}
    payload = _schema(inspect.type_info(kind.spec), definitions)
    envelope: Schema = {
        "apiVersion": {"const": kind.api_version},
        "kind": {"const": kind.name},
        "metadata": METADATA,
        "status": _ANY,
    }
    required = ["apiVersion", "kind", "metadata"]
    spec = definitions[kind.spec.__name__]
    if kind.whole_field is not None:
        payload = spec["properties"][kind.whole_field] | {"description": spec["description"]}
    if kind.payload_field is None:
        properties = envelope | spec["properties"]
        required += spec.get("required", [])
    else:
        properties = envelope | {kind.payload_field: payload}
        required += [kind.payload_field] if "required" in spec else []
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": kind.name,
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
        "$defs": definitions,
    }


@cache
def schema_of(message: type[Message]) -> Schema:
    """The JSON Schema (2020-12) of one message that stands alone, such as the parameters of a Mixer adapter. Shared: do not change it."""
    definitions: dict[str, Schema] = {}
    reference = _schema(inspect.type_info(message), definitions)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": message.__name__, **reference, "$defs": definitions}


def _schema(info: inspect.Type, definitions: dict[str, Schema]) -> Schema:
    match info:
        case inspect.Metadata():
            return _schema(info.type, definitions) | (info.extra_json_schema or {})
        case inspect.StructType():
            return _struct(info, definitions)
        case inspect.UnionType():
            return _union(info, definitions)
        case inspect.VarTupleType() | inspect.ListType():
            return {"type": "array", "items": _schema(info.item_type, definitions)}
        case inspect.DictType():
            return {"type": "object", "additionalProperties": _schema(info.value_type, definitions)}
        case inspect.LiteralType():
            return {"type": "string", "enum": list(info.values)}
        case inspect.IntType():
            return {"type": "integer", **INTEGER_LIMITS}
        case inspect.FloatType():
            return {"type": "number"}
        case inspect.StrType():
            return {"type": "string"}
        case inspect.BoolType():
            return {"type": "boolean"}
        case inspect.AnyType():
            return {}
    raise TypeError(f"specs may not hold {info}")  # a new kind was written with a type that configuration cannot have


def _union(info: inspect.UnionType, definitions: dict[str, Schema]) -> Schema:
    arms = [_schema(arm, definitions) for arm in info.types if not isinstance(arm, inspect.NoneType)]
    if len(arms) == 1:
        return arms[0]
    return {"type": [arm["type"] for arm in arms]}


def _struct(info: inspect.StructType, definitions: dict[str, Schema]) -> Schema:
    cls = cast(type[Message], info.cls)
    if cls.__name__ not in definitions:
        definition = definitions[cls.__name__] = {"type": "object"}
        if cls.__doc__:
            definition["description"] = python_inspect.cleandoc(cls.__doc__)
        definition["properties"] = {field.encode_name: _schema(field.type, definitions) for field in info.fields}
        if required := [field.encode_name for field in info.fields if field.required]:
            definition["required"] = required
        if cls.ONEOFS:
            definition["allOf"] = [_at_most_one(group) for group in cls.ONEOFS]
        if cls.NULL_IS_EMPTY:
            definition[NULL_IS_EMPTY] = list(cls.NULL_IS_EMPTY)
        definition["additionalProperties"] = False
    return {"$ref": f"#/$defs/{cls.__name__}"}


def _at_most_one(names: tuple[str, ...]) -> Schema:
    pairs = [{"type": "object", "required": list(pair)} for pair in itertools.combinations(names, 2)]
    return {"not": {"anyOf": pairs}, ONEOF: list(names)}


def resolve(schema: Schema, root: Schema) -> Schema:
    """Follow a reference into `$defs`, if it is one."""
    reference = schema.get("$ref")
    return cast(Schema, root["$defs"][reference.rpartition("/")[2]]) if reference else schema


def is_struct(schema: Schema) -> bool:
    """Whether it is an object with declared fields (and not a map or free JSON)."""
    return "properties" in schema
