# SPDX-License-Identifier: Apache-2.0
"""Rules, gaps and analysis give problems for whatever has the structure of its kind; they never fail themselves."""

from __future__ import annotations

from random import Random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from common.config import registry
from common.config.accept import accepts
from common.config.problem import parse_path
from common.config.resource import from_document
from common.config.schema import resolve, schema_for
from galley.analysis import analyze
from galley.validation import validate
from galley.validation.enforcement import gaps

KINDS = sorted(registry, key=lambda kind: kind.collection)
TEXTS = (
    *(
        "",
        "x",
        "a.b",
        "*",
        "*.a",
        "a/b",
        "./*",
        "~/*",
        "7s",
        "-1s",
        "1e9h",
        "0.00001s",
        "10.0.0.0/8",
        "::1",
        "unix:///x",
        "127.0.0.1:80",
        ":",
        "[",
    ),
    *("(", "%", "é", "a\tb", "default", "STRICT", "http", "TCP", "80", "99999999999", "https://[", "http://a:b", '{"keys": 5}', "a" * 300),
    *("request.headers[", "source.ip", "request.auth.claims[a][b]", "source.name ==", "a | b", "/", "a*b", "**", "a" * 300),
    *("²", "9" * 5000, "a:²", "http://a:²", "127.0.0.1:" + "9" * 5000, "a:" + "9" * 5000, "http://a:" + "9" * 5000, "100.²"),
)


def value_for(schema: dict[str, Any], root: dict[str, Any], random: Random, depth: int = 0) -> Any:
    """A value of the schema's shape."""
    schema = resolve(schema, root)
    kind = schema.get("type")
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return random.choice(schema["enum"])
    if isinstance(kind, list):
        kind = random.choice(kind)
    if "properties" in schema:
        names = [
            name for name in schema["properties"] if random.random() < (0.8 if depth < 3 else 0.4) or name in schema.get("required", ())
        ]
        for group in (part["x-oneof"] for part in schema.get("allOf", ())):
            kept = random.choice(group)
            names = [name for name in names if name == kept or name not in group]
        return {name: value_for(schema["properties"][name], root, random, depth + 1) for name in names}
    if kind == "object":
        inner = schema.get("additionalProperties") or {}
        return {random.choice(TEXTS): value_for(inner, root, random, depth + 1) for _ in range(random.randrange(3))}
    if kind == "array":
        return [value_for(schema.get("items", {}), root, random, depth + 1) for _ in range(random.randrange(3))]
    if kind == "integer":
        return random.choice((-(2**31), -1, 0, 1, 80, 100, 65535, 65536, 2**32 - 1))
    if kind == "number":
        return random.choice((-1.0, 0.0, 0.00001, 50.5, 100.0, 1e300))
    if kind == "boolean":
        return random.random() < 0.5
    if kind is None and depth < 8:
        return value_for({"type": random.choice(("object", "array", "string", "integer", "boolean"))}, root, random, depth + 1)
    return random.choice(TEXTS)


@settings(max_examples=40, deadline=None)
@given(st.integers(min_value=0))
def test_whatever_has_the_structure_of_its_kind_is_judged(seed: int) -> None:
    random = Random(seed)
    resources = []
    for kind in random.sample(KINDS, 12):
        schema = schema_for(kind)
        document = {**value_for(schema, schema, random), "metadata": {"name": random.choice(TEXTS), "labels": {"a": random.choice(TEXTS)}}}
        assert accepts(kind, document)
        resource = from_document(document)
        for found in validate(resource):
            assert found.message
            parse_path(found.path)
        list(gaps(resource))
        resources.append(resource)
    assert not [found for found in analyze(resources) if found.code == "IST0001"]
