# SPDX-License-Identifier: Apache-2.0
"""Whether a document has the structure of its kind, and if not, why - in words that a person can act on.

Two readers of one schema: jsonschema-rs gives the verdict in microseconds, jsonschema (two hundred times slower, with better
access to what went wrong) is asked only about documents that were refused. A property test holds the verdicts equal.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, Final

import jsonschema
import jsonschema_rs

from common.config.nearest import nearest
from common.config.normalise import normalise
from common.config.problem import MOST, Path, Problem, bounded, problem
from common.config.registry import Kind, UnknownKindError, registry
from common.config.schema import ONEOF, schema_for

_WORDS: Final = {"object": "a mapping", "array": "a list", "string": "a text", "integer": "a whole number", "number": "a number"} | {
    "boolean": "true or false"
}


def kind_of(document: Any) -> Kind | Problem:
    """The kind that a document says it is, or what is wrong with how it says so."""
    if not isinstance(document, Mapping):
        return problem((), f"a resource is a mapping with apiVersion, kind, metadata and spec; found {_describe(document)}")
    for field in ("apiVersion", "kind"):
        value = document.get(field)
        if value is None:
            return problem((field,), f"{field} is missing")
        if not isinstance(value, str):
            return problem((field,), f"expected a text, found {_describe(value)}", expected="a text", found=_describe(value))
    try:
        return registry.find(document["apiVersion"], document["kind"])
    except UnknownKindError as error:
        return problem(("kind",), str(error), found=str(document["kind"]))


def accepts(kind: Kind, document: Any) -> bool:
    """The fast verdict."""
    return _fast(kind).is_valid(document)


def explain(kind: Kind, document: Any) -> tuple[Problem, ...]:
    """All structural mistakes (or the first hundred), in document order of their paths; empty exactly when `accepts` says yes."""
    errors = itertools.islice(_slow(kind).iter_errors(document), MOST + 1)
    in_order = sorted(errors, key=lambda error: [_sortable(step) for step in error.absolute_path])
    return bounded(found for error in in_order for found in structural_problem(error))


def structure(kind: Kind, document: dict[str, Any], *, lenient: bool = False) -> tuple[dict[str, Any], tuple[Problem, ...]]:
    """The document in normal form, and its structural problems."""
    normal = normalise(kind, document, lenient=lenient)
    return normal, () if accepts(kind, normal) else explain(kind, normal)


def _sortable(step: str | int) -> tuple[int, str]:
    return (step, "") if isinstance(step, int) else (-1, step)


@cache
def _fast(kind: Kind) -> jsonschema_rs.Draft202012Validator:
    return jsonschema_rs.Draft202012Validator(schema_for(kind))


@cache
def _slow(kind: Kind) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(schema_for(kind))


def structural_problem(error: jsonschema.ValidationError, at: Path = ()) -> Iterator[Problem]:
    """What an error of jsonschema means, in our words. `at` is where the checked value stands in its document."""
    path: Path = (*at, *error.absolute_path)
    instance: Any = error.instance
    wanted: Any = error.validator_value
    schema: Mapping[str, Any] = error.schema if isinstance(error.schema, Mapping) else {}
    match error.validator:
        case "additionalProperties":
            known = schema["properties"]
            for field in instance:
                if field not in known:
                    yield _unknown_field(path, field, known)
        case "required":
            for field in wanted:
                if field not in instance and field == "name" and path == ("metadata",) and "generateName" in instance:
                    yield problem((*path, "generateName"), "a generated name would make another object each time; write metadata.name")
                elif field not in instance:
                    yield problem(path, f"field {field!r} is missing", expected=field)
        case "not":
            names = schema.get(ONEOF, list(instance) if isinstance(instance, Mapping) else [])
            found = ", ".join(name for name in names if name in instance)
            yield problem(path, f"set only one of {', '.join(names)}; found {found}", expected="one of " + ", ".join(names), found=found)
        case "type" if "enum" in schema:
            return  # the rule about its values says more
        case "type":
            yield _wrong_type(path, instance, wanted, is_duration=schema.get("format") == "duration")
        case "enum":
            yield _unknown_value(path, instance, wanted)
        case "minimum" | "maximum":
            yield problem(path, f"{instance} is out of range for a whole number of 32 bits", found=str(instance))
        case _:
            yield problem(path, error.message, found=_describe(instance))


def _unknown_field(path: Path, field: str, known: Mapping[str, Any]) -> Problem:
    near = nearest(field, known)
    hint = f"did you mean {near!r}?" if near else f"known here: {', '.join(known)}"
    return problem((*path, field), f"unknown field {field!r}; {hint}", expected=near or ", ".join(known), found=field)


def _unknown_value(path: Path, instance: Any, wanted: list[str]) -> Problem:
    listed = ", ".join(value or '""' for value in wanted if value != "INVALID" and not value.endswith("_UNSPECIFIED"))
    if not isinstance(instance, str):
        is_number = isinstance(instance, int) and not isinstance(instance, bool)
        remedy = "; protobuf's enum numbers are not understood, write the name" if is_number else ""
        return problem(path, f"expected one of {listed}, found {_describe(instance)}{remedy}", expected=listed, found=_describe(instance))
    near = nearest(instance.upper(), wanted, cutoff=0.7)
    hint = f"; did you mean {near}?" if near else ""
    return problem(path, f"{instance!r} is not one of {listed}{hint}", expected=listed, found=instance)


def _wrong_type(path: Path, instance: Any, wanted: str | list[str], *, is_duration: bool) -> Problem:
    types = [wanted] if isinstance(wanted, str) else wanted
    expected = " or ".join(_WORDS[name] for name in types)
    remedy = ""
    if is_duration and isinstance(instance, int | float) and not isinstance(instance, bool):
        expected, remedy = "a duration", f"; write {instance}s"
    elif "string" in types and isinstance(instance, bool | int | float):
        remedy = "; put it in quotes"
    elif types == ["boolean"] and isinstance(instance, str):
        remedy = "; write true or false, without quotes"
    elif types[0] in ("integer", "number") and isinstance(instance, str) and instance.strip("-").isdigit():
        remedy = "; write it without quotes"
    elif types == ["array"] and isinstance(instance, dict | str):
        remedy = "; begin the item with '- '"
    return problem(path, f"expected {expected}, found {_describe(instance)}{remedy}", expected=expected, found=_describe(instance))


def _describe(value: Any) -> str:
    """What stands there, short: `the text 'abc'`, `the number 5`, `a list`."""
    match value:
        case None:
            return "nothing"
        case bool():
            return "true" if value else "false"
        case int() | float():
            return f"the number {value}"
        case str():
            return f"the text {value if len(value) <= 40 else value[:37] + '...'!r}"
        case list():
            return "a list"
        case _:
            return "a mapping"
