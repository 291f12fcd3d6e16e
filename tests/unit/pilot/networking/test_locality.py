# SPDX-License-Identifier: Apache-2.0
"""Locality load balancing, as a client of eu/1/a sees it."""

from __future__ import annotations

import pytest
from envoy.config.endpoint.v3 import endpoint_pb2

from common.mesh.names import TYPE_ENDPOINT
from pilot.networking.generator import plan
from pilot.networking.locality import locality_of, matches
from tests.generated_mesh import Mesh, proxy

SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: a, namespace: default}
spec: {clusterIP: 240.240.0.1, selector: {app: a}, ports: [{name: http, port: 80}]}
"""
OUTLIERS = """
apiVersion: networking.istio.io/v1alpha3
kind: DestinationRule
metadata: {name: a, namespace: default}
spec: {host: a, trafficPolicy: {outlierDetection: {consecutiveErrors: 3}}}
"""
NAME = "outbound|80||a.default.svc.cluster.local"
CLIENT = "eu/1/a"


def workloads(*localities: str) -> list[str]:
    return [
        f"""
apiVersion: networking.istio.io/v1alpha3
kind: WorkloadEntry
metadata: {{name: a-{number}, namespace: default}}
spec: {{address: 10.1.0.{number}, labels: {{app: a}}, locality: {locality}}}
"""
        for number, locality in enumerate(localities, start=1)
    ]


def mesh_config(setting: str) -> str:
    metadata = "{name: default, namespace: istio-system}"
    return f"apiVersion: mesh.istio.io/v1alpha1\nkind: MeshConfig\nmetadata: {metadata}\nspec: {{localityLbSetting: {setting}}}\n"


def assignment(*texts: str) -> endpoint_pb2.ClusterLoadAssignment:
    (item,) = Mesh(SERVICE, *texts).generated(proxy(locality=CLIENT), TYPE_ENDPOINT, {NAME})
    return endpoint_pb2.ClusterLoadAssignment.FromString(item.body)


def priorities(found: endpoint_pb2.ClusterLoadAssignment) -> dict[str, int]:
    return {locality_of(group): group.priority for group in found.endpoints}


def weights(found: endpoint_pb2.ClusterLoadAssignment) -> dict[str, int]:
    return {locality_of(group): group.load_balancing_weight.value for group in found.endpoints if group.lb_endpoints}


@pytest.mark.parametrize(
    ("pattern", "locality", "expected"),
    [
        ("eu/1/a", "eu/1/a", True),
        ("eu/1/*", "eu/1/a", True),
        ("eu", "eu/1/a", True),
        ("*", "us/1", True),
        ("eu/2/*", "eu/1/a", False),
        ("eu/1/a", "eu/1", False),
    ],
)
def test_patterns(pattern: str, locality: str, expected: bool) -> None:
    assert matches(pattern, locality) is expected


def test_the_nearest_comes_first_and_priorities_have_no_gaps() -> None:
    places = workloads("eu/1/a", "eu/1/b", "eu/2/a", "us/1/a")
    assert priorities(assignment(*places, OUTLIERS, mesh_config("{}"))) == {"eu/1/a": 0, "eu/1/b": 1, "eu/2/a": 2, "us/1/a": 3}
    assert priorities(assignment(*workloads("eu/2/a", "us/1/a"), OUTLIERS, mesh_config("{}"))) == {"eu/2/a": 0, "us/1/a": 1}


def test_a_preferred_region_comes_before_the_others() -> None:
    setting = mesh_config("{failover: [{from: eu, to: us}]}")
    assert priorities(assignment(*workloads("eu/1/a", "ap/1/a", "us/1/a"), OUTLIERS, setting)) == {"eu/1/a": 0, "us/1/a": 1, "ap/1/a": 2}


def test_without_outlier_detection_or_setting_there_is_no_failover() -> None:
    places = workloads("eu/1/a", "us/1/a")
    assert set(priorities(assignment(*places, mesh_config("{}"))).values()) == {0}
    assert set(priorities(assignment(*places, OUTLIERS)).values()) == {0}


def test_shares_are_split_by_weight_and_the_rest_is_not_used() -> None:
    setting = mesh_config('{distribute: [{from: "eu/1/*", to: {"eu/1/*": 80, "eu/2/*": 20}}]}')
    found = assignment(*workloads("eu/1/a", "eu/1/a", "eu/1/b", "eu/2/a", "us/1/a"), setting)
    assert weights(found) == {"eu/1/a": 54, "eu/1/b": 27, "eu/2/a": 20}


def test_only_a_mesh_with_the_setting_tells_localities_apart() -> None:
    for texts, distinct in (((), 1), ((mesh_config("{}"),), 2)):
        push = Mesh(SERVICE, *texts).push
        keys = {plan(push, proxy(locality=place), TYPE_ENDPOINT, frozenset({NAME})) for place in ("eu/1/a", "us/1/a")}
        assert len(keys) == distinct
