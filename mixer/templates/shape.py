# SPDX-License-Identifier: Apache-2.0
"""An instance, typed: template + parameters + vocabulary -> the row that compiled rules build and the columns that adapters were promised.

A row is a tuple with one element for each field of the template, in the order of its parameters; a map is a nested tuple of the values of its
sorted keys. Keys and types are known when the handler is built, so rows carry values only and adapters need no names at run time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import msgspec

from common.config.mixer_builtin import TEMPLATES, TemplateInfo
from common.config.normalise import normal_value
from common.config.schema import schema_of
from common.expression import Checked, Constant, ExpressionError, ValueType, analyse
from common.expression.values import Timestamp
from mixer.compiler.program import Element
from mixer.errors import InstanceError


@dataclass(frozen=True, slots=True)
class Columns:
    """Keys of a map field and the type of each value, in row order."""

    keys: tuple[str, ...]
    types: tuple[ValueType, ...]


@dataclass(frozen=True, slots=True)
class InstanceShape:
    """What an adapter knows of an instance before the first row comes. Equal shapes may share a handler."""

    name: str
    """Full name: `requestcount.instance.istio-system`."""
    template: str
    variety: str
    fields: tuple[str, ...]
    columns: tuple[ValueType | Columns, ...]
    """For each field its type, or keys and types of a map."""
    row: tuple[Element, ...]

    @property
    def short_name(self) -> str:
        """The first segment of the name: what quota requests name."""
        return self.name.partition(".")[0]

    def map_columns(self, field: str) -> Columns:
        """Columns of a map field of the template."""
        found = self.columns[self.fields.index(field)]
        assert isinstance(found, Columns)
        return found

    def field_type(self, field: str) -> ValueType:
        """Type of a plain field of the template."""
        found = self.columns[self.fields.index(field)]
        assert isinstance(found, ValueType)
        return found


_EMPTY = Constant("", ValueType.STRING)
_ZERO: Mapping[str, Constant] = {"TIMESTAMP": Constant(Timestamp(0), ValueType.TIMESTAMP)}


def shape_instance(name: str, template: str, params: Mapping[str, Any], vocabulary: Mapping[str, ValueType]) -> InstanceShape:
    """Type the parameters of an instance. Raises InstanceError with every wrong field; an unknown template is one of these."""
    info = TEMPLATES.get(template)
    if info is None:
        raise InstanceError([("compiledTemplate", f"unknown template {template!r}; one of {', '.join(sorted(TEMPLATES))}")])
    reader = _Reader(info, vocabulary)
    typed = reader.decode(params)
    fields = info.params.__struct_fields__
    row: list[Element] = []
    columns: list[ValueType | Columns] = []
    for field in fields:
        given = getattr(typed, field)
        if isinstance(given, dict):
            nodes = tuple(reader.expression(f"params.{field}[{key}]", given[key]) for key in sorted(given))
            row.append(nodes)
            columns.append(Columns(tuple(sorted(given)), tuple(node.type for node in nodes)))
        else:
            node = reader.field(field, given)
            row.append(node)
            columns.append(node.type)
    if reader.problems:
        raise InstanceError(reader.problems)
    return InstanceShape(name, template, info.variety, tuple(fields), tuple(columns), tuple(row))


class _Reader:
    """Reads expressions and collects what is wrong with them."""

    def __init__(self, info: TemplateInfo, vocabulary: Mapping[str, ValueType]) -> None:
        self._info, self._vocabulary = info, vocabulary
        self.problems: list[tuple[str, str]] = []

    def decode(self, params: Mapping[str, Any]) -> Any:
        normal = normal_value(dict(params), _schema(self._info.name))
        unknown = [key for key in normal if key not in self._info.params.__struct_fields__]
        if unknown:
            known = ", ".join(self._info.params.__struct_fields__) or "none"
            raise InstanceError([(f"params.{key}", f"template {self._info.name} has no such field; it has {known}") for key in unknown])
        try:
            return msgspec.convert(normal, self._info.params)
        except msgspec.ValidationError as error:
            raise InstanceError([("params", f"{error}; every value is the text of an expression")]) from error

    def field(self, field: str, text: str) -> Checked:
        wanted = self._info.fields.get(field)
        if not text:
            return _ZERO.get(wanted or "", _EMPTY)
        node = self.expression(f"params.{field}", text)
        if wanted is not None and node.type is not ValueType[wanted] and not self.problems:
            self.problems.append((f"params.{field}", f"expected an expression of type {wanted}, found {node.type}"))
        return node

    def expression(self, path: str, text: str) -> Checked:
        if not text:
            return _EMPTY
        try:
            return analyse(text, self._vocabulary)
        except ExpressionError as error:
            self.problems.append((path, error.message))
            return _EMPTY


@cache
def _schema(template: str) -> dict[str, Any]:
    return schema_of(TEMPLATES[template].params)
