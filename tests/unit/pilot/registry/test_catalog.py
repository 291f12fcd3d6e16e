# SPDX-License-Identifier: Apache-2.0
"""Which services there are, where their endpoints come from, and what survives a change."""

from __future__ import annotations

from pilot.model.service import Endpoint, Resolution, ServiceKey
from tests.generated_mesh import Mesh

REVIEWS = """
apiVersion: v1
kind: Service
metadata: {name: reviews, namespace: default}
spec: {clusterIP: 240.240.0.2, selector: {app: reviews}, ports: [{name: http, port: 80, targetPort: web}, {name: grpc, port: 90, targetPort: 9090}]}
"""
KEY = ServiceKey("default", "reviews.default.svc.cluster.local")


def workload(name: str, spec: str, *, namespace: str = "default", annotations: str = "{}") -> str:
    metadata = f"{{name: {name}, namespace: {namespace}, annotations: {annotations}}}"
    return f"apiVersion: networking.istio.io/v1alpha3\nkind: WorkloadEntry\nmetadata: {metadata}\nspec: {spec}\n"


def endpoints(mesh: Mesh, key: ServiceKey = KEY) -> tuple[Endpoint, ...]:
    return mesh.push.catalog.endpoints(key).endpoints


def test_a_selector_finds_workloads_of_its_namespace_with_all_labels() -> None:
    mesh = Mesh(
        REVIEWS,
        workload("right", "{address: 10.1.0.1, labels: {app: reviews, version: v1}, ports: {web: 8080}, serviceAccount: r}"),
        workload("wrong", "{address: 10.1.0.2, labels: {app: ratings}}"),
        workload("elsewhere", "{address: 10.1.0.3, labels: {app: reviews}}", namespace="other"),
    )
    (found,) = endpoints(mesh)
    assert found.address == "10.1.0.1" and found.ports == {80: 8080, 90: 9090}
    assert found.account == "spiffe://cluster.local/ns/default/sa/r"
    assert mesh.push.catalog.endpoints(KEY).accounts == ("spiffe://cluster.local/ns/default/sa/r",)


def test_only_registered_or_marked_workloads_have_a_sidecar() -> None:
    mesh = Mesh(
        REVIEWS,
        workload("registered", "{address: 10.1.0.1, labels: {app: reviews}}", annotations='{fourmast.io/registered: "true"}'),
        workload("marked", "{address: 10.1.0.2, labels: {app: reviews, security.istio.io/tlsMode: istio}}"),
        workload("plain", "{address: 10.1.0.3, labels: {app: reviews}}"),
    )
    assert {found.workload: found.has_sidecar for found in endpoints(mesh)} == {"registered": True, "marked": True, "plain": False}


def test_an_endpoints_object_serves_a_service_without_selector() -> None:
    mesh = Mesh(
        """
apiVersion: v1
kind: Service
metadata: {name: db, namespace: default}
spec: {ports: [{name: tcp, port: 5432}]}
---
apiVersion: v1
kind: Endpoints
metadata: {name: db, namespace: default}
subsets: [{addresses: [{ip: 10.5.0.1}], notReadyAddresses: [{ip: 10.5.0.2}], ports: [{name: tcp, port: 15432}]}]
"""
    )
    (found,) = endpoints(mesh, ServiceKey("default", "db.default.svc.cluster.local"))
    assert found.address == "10.5.0.1" and found.ports == {5432: 15432}


def test_headless_and_external_names() -> None:
    mesh = Mesh(
        """
apiVersion: v1
kind: Service
metadata: {name: headless, namespace: default}
spec: {clusterIP: None, selector: {app: x}, ports: [{name: tcp, port: 1}]}
---
apiVersion: v1
kind: Service
metadata: {name: outside, namespace: default}
spec: {type: ExternalName, externalName: example.com, ports: [{name: http, port: 80}]}
"""
    )
    by_key = mesh.push.catalog.by_key
    assert by_key[ServiceKey("default", "headless.default.svc.cluster.local")].resolution is Resolution.PASSTHROUGH
    outside = by_key[ServiceKey("default", "outside.default.svc.cluster.local")]
    assert outside.resolution is Resolution.DNS and outside.mesh_external
    assert [found.address for found in endpoints(mesh, outside.key)] == ["example.com"]


def test_a_dns_entry_without_endpoints_is_reached_by_its_name_and_a_wildcard_is_not() -> None:
    mesh = Mesh(
        """
apiVersion: networking.istio.io/v1alpha3
kind: ServiceEntry
metadata: {name: e, namespace: default}
spec:
  hosts: [api.example.com, "*.example.org"]
  addresses: [10.0.0.1/32, nonsense, 10.2.3.4/16]
  ports: [{number: 80, name: http, protocol: http}]
  resolution: DNS
"""
    )
    assert [found.address for found in endpoints(mesh, ServiceKey("default", "api.example.com"))] == ["api.example.com"]
    assert endpoints(mesh, ServiceKey("default", "*.example.org")) == ()
    assert mesh.push.catalog.by_key[ServiceKey("default", "api.example.com")].addresses == ("10.0.0.1", "10.2.0.0/16")


def test_a_kubernetes_service_beats_a_service_entry_with_its_name() -> None:
    entry = """
apiVersion: networking.istio.io/v1alpha3
kind: ServiceEntry
metadata: {name: e, namespace: default}
spec: {hosts: [reviews.default.svc.cluster.local], ports: [{number: 1, name: tcp, protocol: TCP}], resolution: NONE}
"""
    for texts in ((REVIEWS, entry), (entry, REVIEWS)):
        assert Mesh(*texts).push.catalog.by_key[KEY].selector == {"app": "reviews"}


def test_a_workload_serves_by_its_labels_even_while_it_is_not_registered() -> None:
    catalog = Mesh(REVIEWS).push.catalog
    assert [service.key for service in catalog.served_by("default", {"app": "reviews", "version": "v1"}, ())] == [KEY]
    assert catalog.served_by("other", {"app": "reviews"}, ()) == ()
    assert catalog.served_by("default", {"app": "ratings"}, ()) == ()


def test_a_change_of_endpoints_leaves_the_services_as_they_are() -> None:
    first = Mesh(REVIEWS, workload("a", "{address: 10.1.0.1, labels: {app: reviews}, serviceAccount: r}"))
    scope = first.push.scope("default")
    second = Mesh(
        REVIEWS,
        workload("a", "{address: 10.1.0.1, labels: {app: reviews}, serviceAccount: r}"),
        workload("b", "{address: 10.1.0.2, labels: {app: reviews}, serviceAccount: r}"),
        previous=first,
    )
    assert second.push.catalog.by_key[KEY] is first.push.catalog.by_key[KEY]
    assert second.push.catalog.digest == first.push.catalog.digest
    assert second.push.catalog.accounts_digest == first.push.catalog.accounts_digest
    assert len(endpoints(first)) == 1 and len(endpoints(second)) == 2
    assert second.push.scope("default") is scope
