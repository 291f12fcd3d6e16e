# SPDX-License-Identifier: Apache-2.0
"""What Mixer's configuration must keep to: expressions that parse and fit their types, params of the shape that adapters and templates declare."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import jsonschema

from common.config.accept import structural_problem
from common.config.kinds.mixer import Adapter, AttributeManifest, Handler, HeaderOperation, Instance, Rule, Template
from common.config.nearest import nearest
from common.config.normalise import normal_value
from common.config.problem import Path, Problem, problem
from common.config.schema import Schema, resolve
from common.expression import ExpressionError, ValueType, check
from galley.validation.context import VALUE_TYPE, Context
from galley.validation.primitives import as_number, duration, each, header_name, port_number, unique
from galley.validation.secrets import REMEDY, is_secret, with_references

MAX_EXPRESSION: Final = 16_384
"""Longest expression, in characters; Istio's own longest has about two thousand."""

_ATTRIBUTE: Final = re.compile(r"[a-zA-Z_][\w-]*(\.[a-zA-Z_][\w-]*)*\Z")


def rule(spec: Rule, at: Path, context: Context) -> Iterator[Problem]:
    if spec.match.strip():
        yield from expression(spec.match, (*at, "match"), context.vocabulary, ValueType.BOOL)
    operations = spec.requestHeaderOperations or spec.responseHeaderOperations
    if not spec.actions and not operations:
        yield problem(at, "a rule needs actions (a handler with instances) or header operations")
    for action, place in each(spec.actions, (*at, "actions")):
        if not action.handler:
            yield problem(place, "an action needs a handler")
        if not action.instances:
            yield problem(place, "an action needs at least one instance to hand over")
        yield from unique(each(action.instances, (*place, "instances")), "instance")
    outputs = _WithOutputs(context.vocabulary, frozenset(action.name for action in spec.actions if action.name))
    for field in ("requestHeaderOperations", "responseHeaderOperations"):
        for operation, place in each(getattr(spec, field), (*at, field)):
            yield from _header_operation(operation, place, outputs)
    if spec.sampling is not None and spec.sampling.rateLimit is not None:
        yield from duration(spec.sampling.rateLimit.samplingDuration, (*at, "sampling", "rateLimit", "samplingDuration"))


class _WithOutputs(Mapping[str, ValueType]):
    """A vocabulary in which `<action>.output.<field>` also is a text."""

    def __init__(self, vocabulary: Mapping[str, ValueType], actions: frozenset[str]) -> None:
        self._vocabulary = vocabulary
        self._actions = actions

    def __getitem__(self, name: str) -> ValueType:
        action, separator, _ = name.partition(".output.")
        return ValueType.STRING if separator and action in self._actions else self._vocabulary[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._vocabulary)

    def __len__(self) -> int:
        return len(self._vocabulary)


def _header_operation(operation: HeaderOperation, at: Path, vocabulary: Mapping[str, ValueType]) -> Iterator[Problem]:
    yield from header_name(operation.name, (*at, "name"))
    if operation.operation == "REMOVE":
        return
    if not operation.values:
        yield problem(
            at, f"operation {operation.operation} needs values; each is an expression, so a text needs quotes inside quotes: '\"text\"'"
        )
    for value, place in each(operation.values, (*at, "values")):
        yield from expression(value, place, vocabulary, ValueType.STRING)


def expression(text: str, at: Path, vocabulary: Mapping[str, ValueType], wanted: ValueType | None = None) -> Iterator[Problem]:
    """Parses, uses known attributes, and has the wanted type where one is wanted."""
    if len(text) > MAX_EXPRESSION:
        yield problem(at, f"the expression has {len(text)} characters; at most {MAX_EXPRESSION} are allowed")
        return
    try:
        found = check(text, vocabulary)
    except ExpressionError as error:
        yield problem(at, f"{error.message}{_hint(error, text, vocabulary)}", found=text)
        return
    if wanted is not None and found is not wanted:
        yield problem(at, f"the expression is a {found}, but a {wanted} is needed here", expected=str(wanted), found=str(found))


def _hint(error: ExpressionError, text: str, vocabulary: Mapping[str, ValueType]) -> str:
    name = error.message.removeprefix("unknown attribute ")
    if error.kind == "check" and name != error.message:
        if near := nearest(name, vocabulary):
            return f"; did you mean {near}?"
        if name == text.strip():
            return f"; for the text itself write '\"{text}\"'"
        return "; declare it in an attributemanifest"
    return f" (at character {error.position + 1})" if error.position is not None else ""


def handler(spec: Handler, at: Path, context: Context) -> Iterator[Problem]:
    name = spec.compiledAdapter or spec.adapter
    if not name:
        yield problem(at, "a handler needs compiledAdapter (one that Mixer has built in) or adapter (the name of an adapter resource)")
        return
    if spec.compiledAdapter is not None:
        adapter = context.adapters.get(name)
        if adapter is None:
            yield problem((*at, "compiledAdapter"), f"Mixer has no adapter {name!r}{_near(name, context.adapters)}", found=name)
        elif adapter.schema:
            yield from params_of(spec.params, adapter.schema, (*at, "params"))
    if spec.adapter is not None:
        declared = context.adapters.get(name.partition(".")[0])
        if declared is not None and declared.schema:
            yield from params_of(spec.params, declared.schema, (*at, "params"))
        if spec.connection is None or not spec.connection.address:
            yield problem((*at, "connection"), "an adapter outside Mixer needs connection.address, host:port")
    if spec.connection is not None:
        yield from _connection_address(spec.connection.address, (*at, "connection", "address"))
        yield from duration(spec.connection.timeout, (*at, "connection", "timeout"))


def _connection_address(text: str, at: Path) -> Iterator[Problem]:
    if not text:
        return
    host, _, port = text.rpartition(":")
    number = as_number(port)
    if not host or number is None:
        yield problem(at, f"{text!r} is not an address; write host:port", found=text)
    else:
        yield from port_number(number, at)


def instance(spec: Instance, at: Path, context: Context) -> Iterator[Problem]:
    name = spec.compiledTemplate or spec.template
    if not name:
        yield problem(at, "an instance needs compiledTemplate (one that Mixer has built in) or template (the name of a template resource)")
        return
    template = context.templates.get(name.partition(".")[0] if spec.template else name)
    if spec.compiledTemplate is not None and template is None:
        yield problem((*at, "compiledTemplate"), f"Mixer has no template {name!r}{_near(name, context.templates)}", found=name)
    schema = template.schema if template is not None else {}
    if schema:
        yield from params_of(spec.params, schema, (*at, "params"))
    params = normal_value(dict(spec.params), schema)
    yield from expressions(params, schema, schema, (*at, "params"), context.vocabulary)
    for attribute in spec.attributeBindings:
        if attribute not in context.vocabulary:
            yield problem((*at, "attributeBindings", attribute), f"unknown attribute {attribute}; declare it in an attributemanifest")


def expressions(value: Any, schema: Schema, root: Schema, at: Path, vocabulary: Mapping[str, ValueType]) -> Iterator[Problem]:
    """Every text in an instance's params is an expression; an empty one leaves its field alone."""
    schema = resolve(schema, root)
    if isinstance(value, str):
        if value.strip():
            yield from expression(value, at, vocabulary, ValueType.__members__.get(str(schema.get(VALUE_TYPE))))
    elif isinstance(value, Mapping):
        rest = schema.get("additionalProperties")
        for name, item in value.items():
            inner = schema.get("properties", {}).get(name, rest if isinstance(rest, dict) else {})
            yield from expressions(item, inner, root, (*at, name), vocabulary)
    elif isinstance(value, list | tuple):
        for item, place in each(value, at):
            yield from expressions(item, schema.get("items", {}), root, place, vocabulary)


def params_of(params: Mapping[str, Any], schema: Schema, at: Path) -> Iterator[Problem]:
    """Structural mistakes of params. About a secret nothing is quoted: messages go to logs and to people's screens."""
    schema = with_references(schema)
    try:
        errors = list(jsonschema.Draft202012Validator(schema).iter_errors(normal_value(dict(params), schema)))
    except jsonschema.exceptions.SchemaError:
        return  # reported at the adapter or template whose schema it is
    for error in errors:
        if isinstance(error.schema, dict) and is_secret(error.schema):
            place: Path = (*at, *error.absolute_path)
            yield problem(place, f"{place[-1]} {REMEDY}")
        else:
            yield from structural_problem(error, at)


def _near(name: str, known: Mapping[str, Any]) -> str:
    near = nearest(name, known)
    return f"; did you mean {near!r}?" if near else f"; it has {', '.join(sorted(known))}"


def adapter_or_template(spec: Adapter | Template, at: Path) -> Iterator[Problem]:
    try:
        jsonschema.Draft202012Validator.check_schema(spec.schema)
    except jsonschema.exceptions.SchemaError as error:
        yield problem((*at, "schema", *error.absolute_path), f"not a JSON Schema: {error.message}")


def attribute_manifest(spec: AttributeManifest, at: Path) -> Iterator[Problem]:
    for name, info in spec.attributes.items():
        place = (*at, "attributes", name)
        if not _ATTRIBUTE.match(name):
            yield problem(place, f"{name!r} is not an attribute name: parts of letters, digits, '_' and '-' with dots between", found=name)
        if info.valueType == "VALUE_TYPE_UNSPECIFIED":
            yield problem(place, "valueType is missing: STRING, INT64, BOOL, …")
