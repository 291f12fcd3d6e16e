# SPDX-License-Identifier: Apache-2.0
"""The exposition keeps Istio's names and is read back by an independent parser."""

import math

import pytest
from prometheus_client.parser import text_string_to_metric_families

from common.telemetry.metrics import Registry


def test_counter_keeps_its_exact_name_and_type() -> None:
    registry = Registry()
    registry.counter("pilot_xds_pushes", "Pushes by type.", ("type",)).add(2, "cds")
    assert registry.text().decode().splitlines() == [
        "# HELP pilot_xds_pushes Pushes by type.",
        "# TYPE pilot_xds_pushes counter",
        'pilot_xds_pushes{type="cds"} 2',
    ]


@pytest.mark.parametrize("value", ['quo"te', "back\\slash", "new\nline", "ünï"])
def test_label_values_survive_the_text_format(value: str) -> None:
    registry = Registry()
    registry.gauge("g", "h", ("label",)).set(1.5, value)
    (family,) = text_string_to_metric_families(registry.text().decode())
    assert family.samples[0].labels == {"label": value}
    assert family.samples[0].value == 1.5


def test_histogram_buckets_are_cumulative_and_bounds_inclusive() -> None:
    registry = Registry()
    histogram = registry.histogram("h", "seconds", ("a",), buckets=(0.1, 1))
    for number in (0.1, 0.5, 7):
        histogram.observe(number, "x")
    (family,) = text_string_to_metric_families(registry.text().decode())
    by_name = {(s.name, s.labels.get("le")): s.value for s in family.samples}
    assert by_name[("h_bucket", "0.1")] == 1
    assert by_name[("h_bucket", "1")] == 2
    assert by_name[("h_bucket", "+Inf")] == by_name[("h_count", None)] == 3
    assert math.isclose(by_name[("h_sum", None)], 7.6)


def test_a_name_is_registered_once_and_labels_are_counted() -> None:
    registry = Registry()
    counter = registry.counter("c", "h", ("a", "b"))
    with pytest.raises(ValueError, match="exists already"):
        registry.gauge("c", "h")
    with pytest.raises(ValueError, match="has labels"):
        counter.add(1, "only-one")
