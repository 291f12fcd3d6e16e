# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from envoy.config.endpoint.v3 import endpoint_pb2

from common.mesh.names import TYPE_ENDPOINT
from tests.generated_mesh import Mesh, proxy

SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: a, namespace: default}
spec: {clusterIP: 240.240.0.1, selector: {app: a}, ports: [{name: http, port: 80}]}
---
apiVersion: networking.istio.io/v1alpha3
kind: DestinationRule
metadata: {name: a, namespace: default}
spec: {host: a, subsets: [{name: v1, labels: {version: v1}}, {name: all}]}
"""


def workload(number: int, version: str, more: str = "") -> str:
    return f"""
apiVersion: networking.istio.io/v1alpha3
kind: WorkloadEntry
metadata: {{name: a-{number}, namespace: default, annotations: {{fourmast.io/registered: "true"}}}}
spec: {{address: 10.1.0.{number}, labels: {{app: a, version: {version}}}{more}}}
"""


def assignment(*texts: str, subset: str = "") -> endpoint_pb2.ClusterLoadAssignment:
    (item,) = Mesh(*texts).generated(proxy(), TYPE_ENDPOINT, {f"outbound|80|{subset}|a.default.svc.cluster.local"})
    return endpoint_pb2.ClusterLoadAssignment.FromString(item.body)


def addresses(found: endpoint_pb2.ClusterLoadAssignment) -> list[str]:
    return [item.endpoint.address.socket_address.address for group in found.endpoints for item in group.lb_endpoints]


def test_a_subset_is_the_endpoints_with_its_labels() -> None:
    texts = (SERVICE, workload(1, "v1"), workload(2, "v2"))
    assert addresses(assignment(*texts)) == ["10.1.0.1", "10.1.0.2"]
    assert addresses(assignment(*texts, subset="v1")) == ["10.1.0.1"]
    assert addresses(assignment(*texts, subset="all")) == ["10.1.0.1", "10.1.0.2"]


def test_a_subset_that_no_rule_defines_is_empty() -> None:
    """Istio 1.4 answered with every endpoint of the service."""
    assert addresses(assignment(SERVICE, workload(1, "v1"), subset="v9")) == []


def test_localities_are_groups_whose_weight_is_the_sum() -> None:
    found = assignment(SERVICE, workload(1, "v1", ", locality: eu/1, weight: 3"), workload(2, "v1", ", locality: eu/1"), workload(3, "v1"))
    assert [(group.locality.region, group.locality.zone, group.load_balancing_weight.value) for group in found.endpoints] == [
        ("", "", 1),
        ("eu", "1", 4),
    ]


def modes(found: endpoint_pb2.ClusterLoadAssignment) -> list[str]:
    return [
        item.metadata.filter_metadata["envoy.transport_socket_match"].fields["tlsMode"].string_value
        for group in found.endpoints
        for item in group.lb_endpoints
    ]


def test_a_policy_that_switches_mutual_tls_off_shows_at_the_endpoint() -> None:
    off = """
apiVersion: security.istio.io/v1beta1
kind: PeerAuthentication
metadata: {name: plaintext, namespace: default}
spec: {selector: {matchLabels: {version: v2}}, mtls: {mode: DISABLE}}
"""
    assert modes(assignment(SERVICE, workload(1, "v1"), workload(2, "v2"))) == ["istio", "istio"]
    assert modes(assignment(SERVICE, workload(1, "v1"), workload(2, "v2"), off)) == ["istio", ""]
