# SPDX-License-Identifier: Apache-2.0
"""Series as Prometheus reads them back, and how long they live."""

from __future__ import annotations

from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from common.expression.values import Duration
from mixer.adapters.contract import Batch, Environment
from mixer.adapters.exposition import MetricsPage
from mixer.errors import HandlerError
from tests.unit.mixer.adapters.building import build, shape
from tests.unit.mixer.resources import environment

COUNT = shape(
    "metric", {"value": "1", "dimensions": {"code": "response.code | 200", "app": 'source.labels["app"] | "?"'}}, "count.instance.ns"
)
TIME = shape("metric", {"value": 'response.duration | "0ms"', "dimensions": {}}, "time.instance.ns")
COUNTER = {"name": "requests_total", "instance_name": "count.instance.ns", "kind": "COUNTER", "label_names": ["code", "app"]}
HISTOGRAM = {
    "name": "seconds",
    "instanceName": "time.instance.ns",
    "kind": "DISTRIBUTION",
    "buckets": {"explicit_buckets": {"bounds": [0.1, 1]}},
}


def samples(page: MetricsPage) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    page.sweep()
    families = text_string_to_metric_families(page.text().decode())
    return {(sample.name, tuple(sorted(sample.labels.items()))): sample.value for family in families for sample in family.samples}


def count_of(page: MetricsPage, code: str = "200", app: str = "a") -> float | None:
    return samples(page).get(("istio_requests_total", (("app", app), ("code", code))))


def test_counters_and_histograms_have_exactly_their_names() -> None:
    within = environment()
    handler = build("prometheus", {"metrics": [COUNTER, HISTOGRAM]}, COUNT, TIME, within=within)
    rows = [(1, ("a", 200)), (1, ("a", 200)), (1, ('"\\\n', 404))]
    handler.report([Batch(COUNT, rows), Batch(TIME, [(Duration(50_000_000), ()), (Duration(2 * 10**9), ())])])
    assert samples(within.metrics_page) == {
        ("istio_requests_total", (("app", "a"), ("code", "200"))): 2,
        ("istio_requests_total", (("app", '"\\\n'), ("code", "404"))): 1,
        ("istio_seconds_bucket", (("le", "0.1"),)): 1,
        ("istio_seconds_bucket", (("le", "1"),)): 1,
        ("istio_seconds_bucket", (("le", "+Inf"),)): 2,
        ("istio_seconds_count", ()): 2,
        ("istio_seconds_sum", ()): 2.05,
    }
    text = within.metrics_page.text().decode()
    assert "# TYPE istio_requests_total counter\n" in text
    assert 'istio_requests_total{code="200",app="a"} 2\n' in text, "labels in the order of label_names"


def test_a_gauge_keeps_the_last_value() -> None:
    within = environment()
    size = shape("metric", {"value": "response.size | 0"}, "size.instance.ns")
    handler = build(
        "prometheus", {"metrics": [{"name": "/a.b-c d", "instanceName": size.name, "kind": "GAUGE", "namespace": ""}]}, size, within=within
    )
    handler.report([Batch(size, [(5, ()), (3, ())])])
    assert samples(within.metrics_page) == {("a_bc_d", ()): 3}


@pytest.mark.parametrize(
    ("buckets", "bounds"),
    [
        ({"exponentialBuckets": {"numFiniteBuckets": 3, "scale": 1, "growthFactor": 10}}, ["1", "10", "100", "1000", "+Inf"]),
        ({"linear_buckets": {"num_finite_buckets": 2, "width": 5, "offset": 1}}, ["1", "6", "11", "+Inf"]),
    ],
)
def test_n_finite_buckets_have_n_and_one_bounds(buckets: dict[str, Any], bounds: list[str]) -> None:
    within = environment()
    build("prometheus", {"metrics": [HISTOGRAM | {"buckets": buckets}]}, TIME, within=within).report([Batch(TIME, [(Duration(0), ())])])
    found = [dict(labels)["le"] for name, labels in samples(within.metrics_page) if name.endswith("_bucket")]
    assert found == bounds


def test_a_wrong_value_spoils_no_other_row() -> None:
    within = environment()
    text = shape("metric", {"value": 'request.host | "1"'}, "text.instance.ns")
    handler = build("prometheus", {"metrics": [{"name": "x_total", "instanceName": text.name, "kind": "COUNTER"}]}, text, within=within)
    with pytest.raises(ValueError, match="2 values are no numbers"):
        handler.report([Batch(text, [("2.5", ()), ("many", ()), ("-1", ()), ("1", ())])])
    assert samples(within.metrics_page) == {("istio_x_total", ()): 3.5}


async def test_series_survive_a_rebuild_with_the_same_definition_and_no_other() -> None:
    within = environment()
    first = build("prometheus", {"metrics": [COUNTER]}, COUNT, within=within)
    first.report([Batch(COUNT, [(1, ("a", 200))])])
    second = build("prometheus", {"metrics": [COUNTER, HISTOGRAM]}, COUNT, TIME, within=within)
    await first.close()
    second.report([Batch(COUNT, [(1, ("a", 200))])])
    assert count_of(within.metrics_page) == 2
    third = build("prometheus", {"metrics": [COUNTER | {"description": "other"}]}, COUNT, within=within)
    await second.close()
    third.report([Batch(COUNT, [(1, ("a", 200))])])
    assert count_of(within.metrics_page) == 1
    await third.close()
    assert samples(within.metrics_page) == {}


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_series_without_updates_expire_and_start_anew() -> None:
    clock = Clock()
    within: Environment = environment(clock)
    params = {"metrics": [COUNTER], "metricsExpirationPolicy": {"metricsExpiryDuration": "10m"}}
    handler = build("prometheus", params, COUNT, within=within)
    handler.report([Batch(COUNT, [(1, ("a", 200)), (1, ("b", 200))])])
    clock.now = 400
    handler.report([Batch(COUNT, [(1, ("b", 200))])])
    clock.now = 700
    assert (count_of(within.metrics_page), count_of(within.metrics_page, app="b")) == (None, 2)
    handler.report([Batch(COUNT, [(1, ("a", 200))])])
    assert count_of(within.metrics_page) == 1


def test_a_map_may_be_a_dimension() -> None:
    within = environment()
    labels = shape("metric", {"value": "1", "dimensions": {"all": "source.labels"}}, "l.instance.ns")
    handler = build(
        "prometheus",
        {"metrics": [{"name": "x_total", "instanceName": labels.name, "kind": "COUNTER", "labelNames": ["all"]}]},
        labels,
        within=within,
    )
    handler.report([Batch(labels, [(1, ({"b": "2", "a": "1"},)), (1, ({"a": "1", "b": "2"},))])])
    assert samples(within.metrics_page) == {("istio_x_total", (("all", "a=1&b=2"),)): 2}


@pytest.mark.parametrize(
    ("metric", "field"),
    [
        (COUNTER | {"label_names": ["code"]}, "params.metrics[0].labelNames"),
        (COUNTER | {"label_names": ["code", "app", "app"]}, "params.metrics[0].labelNames[2]"),
        (COUNTER | {"label_names": ["code", "a-b"]}, "params.metrics[0].labelNames[1]"),
        (COUNTER | {"kind": "UNSPECIFIED"}, "params.metrics[0].kind"),
        (COUNTER | {"name": "a{b"}, "params.metrics[0].name"),
        (COUNTER | {"instance_name": "other.instance.ns"}, "params.metrics"),
        (COUNTER | {"kind": "DISTRIBUTION", "buckets": {"explicitBuckets": {"bounds": [2, 1]}}}, "params.metrics[0].buckets"),
        (
            COUNTER | {"kind": "DISTRIBUTION", "buckets": {"linearBuckets": {"numFiniteBuckets": 10**9, "width": 1}}},
            "params.metrics[0].buckets",
        ),
    ],
)
def test_wrong_parameters_are_named(metric: dict[str, Any], field: str) -> None:
    within = environment()
    with pytest.raises(HandlerError) as caught:
        build("prometheus", {"metrics": [metric]}, COUNT, within=within)
    assert caught.value.field == field
    assert samples(within.metrics_page) == {}
