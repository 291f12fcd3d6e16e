# SPDX-License-Identifier: Apache-2.0
"""Instances: rows in the order of the template, and every mistake at its field."""

from __future__ import annotations

import pytest

from common.expression import Constant, ValueType, Vocabulary
from mixer.errors import InstanceError
from mixer.templates import Columns, shape_instance

VOCABULARY = Vocabulary.standard()


def test_a_metric_has_its_dimensions_in_order() -> None:
    params = {"value": "response.size | 0", "dimensions": {"b": 'request.host | "-"', "a": "response.code | 200"}}
    shape = shape_instance("m.instance.ns", "metric", params, VOCABULARY)
    assert shape.variety == "REPORT"
    assert shape.short_name == "m"
    assert shape.field_type("value") is ValueType.INT64
    assert shape.map_columns("dimensions") == Columns(("a", "b"), (ValueType.INT64, ValueType.STRING))
    assert len(shape.row) == 4


def test_snake_case_fields_are_understood_and_empty_ones_are_zero() -> None:
    params = {"value": "1", "monitored_resource_type": '"UNSPECIFIED"'}
    shape = shape_instance("m.instance.ns", "metric", params, VOCABULARY)
    assert shape.row == (Constant(1, ValueType.INT64), (), Constant("UNSPECIFIED", ValueType.STRING), ())


@pytest.mark.parametrize(
    ("template", "params", "problems"),
    [
        ("metric", {"value": "nope", "dimensions": {"a": "1 +"}}, ["params.value", "params.dimensions[a]"]),
        ("metric", {"worth": "1"}, ["params.worth"]),
        ("metric", {"value": 1}, ["params"]),
        ("logentry", {"severity": "1"}, ["params.severity"]),
        ("logentry", {"timestamp": '"now"'}, ["params.timestamp"]),
        ("checknothing", {"value": "1"}, ["params.value"]),
        ("tracespan", {}, ["compiledTemplate"]),
    ],
)
def test_mistakes_are_named_by_field(template: str, params: dict[str, object], problems: list[str]) -> None:
    with pytest.raises(InstanceError) as caught:
        shape_instance("m.instance.ns", template, params, VOCABULARY)
    assert [field for field, _ in caught.value.problems] == problems


def test_equal_instances_are_equal() -> None:
    def shape(text: str) -> object:
        return shape_instance("l.instance.ns", "listentry", {"value": text}, VOCABULARY)

    assert shape("source.ip") == shape(" source.ip ")
    assert shape("source.ip") != shape("destination.ip")
