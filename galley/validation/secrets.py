# SPDX-License-Identifier: Apache-2.0
"""Secrets of handlers are references, never values: what is stored is kept in every later revision, shown to readers and sent to sinks.

A schema marks a secret by `x-secret: true`, or in JSON Schema's own words by `writeOnly: true` or `format: password`. Whatever type the
adapter wants in the end, the handler then says where it is found.
"""

from __future__ import annotations

from typing import Any, Final

from common.config.schema import Schema

SECRET: Final = "x-secret"
REFERENCE: Final[Schema] = {
    "type": "object",
    "properties": {"fromFile": {"type": "string"}, "fromEnv": {"type": "string"}},
    "additionalProperties": False,
    "minProperties": 1,
    "maxProperties": 1,
    SECRET: True,
}
REMEDY: Final = (
    "is a secret and would be kept in every revision; write where Mixer finds it: {fromFile: /path/to/file} or {fromEnv: NAME_OF_VARIABLE}"
)


def with_references(schema: Any) -> Any:
    """The schema with a reference in place of each secret."""
    if isinstance(schema, list):
        return [with_references(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if is_secret(schema):
        return REFERENCE
    return {name: with_references(item) for name, item in schema.items()}


def is_secret(schema: Schema) -> bool:
    return schema.get(SECRET) is True or schema.get("writeOnly") is True or schema.get("format") == "password"
