# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from pilot.model.authentication import MutualTls
from tests.generated_mesh import Mesh


def peer(name: str, namespace: str, spec: str, created: str = "") -> str:
    metadata = f'{{name: {name}, namespace: {namespace}, creationTimestamp: "{created}"}}'
    return f"apiVersion: security.istio.io/v1beta1\nkind: PeerAuthentication\nmetadata: {metadata}\nspec: {spec}\n"


def policy(name: str, spec: str) -> str:
    return f"apiVersion: authentication.istio.io/v1alpha1\nkind: Policy\nmetadata: {{name: {name}, namespace: default}}\nspec: {spec}\n"


def mesh_policy(spec: str, name: str = "default") -> str:
    return f"apiVersion: authentication.istio.io/v1alpha1\nkind: MeshPolicy\nmetadata: {{name: {name}}}\nspec: {spec}\n"


def mode(*texts: str, port: int = 8080, labels: dict[str, str] | None = None) -> MutualTls:
    policies = Mesh(*texts).push.peer_policies
    return policies.mode("default", labels or {"app": "a"}, port, hostname="a.default.svc.cluster.local", service_port=(80, "http"))


MESH = peer("mesh", "istio-system", "{mtls: {mode: STRICT}}")
NAMESPACE = peer("ns", "default", "{mtls: {mode: DISABLE}}")
WORKLOAD = peer("w", "default", '{selector: {matchLabels: {app: a}}, mtls: {mode: STRICT}, portLevelMtls: {"9000": {mode: DISABLE}}}')


def test_without_policies_both_are_accepted() -> None:
    assert mode() is MutualTls.PERMISSIVE


def test_the_narrower_level_decides() -> None:
    assert mode(MESH) is MutualTls.STRICT
    assert mode(MESH, NAMESPACE) is MutualTls.DISABLE
    assert mode(MESH, NAMESPACE, WORKLOAD) is MutualTls.STRICT
    assert mode(MESH, NAMESPACE, WORKLOAD, port=9000) is MutualTls.DISABLE
    assert mode(MESH, NAMESPACE, WORKLOAD, labels={"app": "b"}) is MutualTls.DISABLE


def test_unset_inherits_even_at_the_workload() -> None:
    unset = peer("w", "default", '{selector: {matchLabels: {app: a}}, portLevelMtls: {"9000": {mode: UNSET}}}')
    assert mode(MESH, unset) is MutualTls.STRICT
    assert mode(MESH, unset, port=9000) is MutualTls.STRICT


def test_the_oldest_of_one_scope_wins() -> None:
    old = peer("z-old", "default", "{mtls: {mode: STRICT}}", "2026-01-01T00:00:00Z")
    new = peer("a-new", "default", "{mtls: {mode: DISABLE}}", "2026-01-02T00:00:00Z")
    assert mode(new, old) is MutualTls.STRICT


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("{peers: [{mtls: {}}]}", MutualTls.STRICT),
        ("{peers: [{mtls: {mode: PERMISSIVE}}]}", MutualTls.PERMISSIVE),
        ("{peers: [{mtls: {}}], peerIsOptional: true}", MutualTls.PERMISSIVE),
        ("{}", MutualTls.DISABLE),
    ],
)
def test_mesh_policies_of_istio_1_4(spec: str, expected: MutualTls) -> None:
    assert mode(mesh_policy(spec)) is expected
    assert mode(mesh_policy(spec, name="other")) is MutualTls.PERMISSIVE


def test_a_policy_may_target_a_service_or_one_port_of_it() -> None:
    service = policy("a", "{targets: [{name: a}], peers: [{mtls: {}}]}")
    port = policy("b", "{targets: [{name: a, ports: [{number: 80}]}], peers: [{mtls: {mode: PERMISSIVE}}]}")
    named = policy("c", "{targets: [{name: a, ports: [{name: http}]}]}")
    other = policy("d", "{targets: [{name: other}]}")
    assert mode(service) is MutualTls.STRICT
    assert mode(service, port) is MutualTls.PERMISSIVE
    assert mode(service, named) is MutualTls.DISABLE
    assert mode(service, other) is MutualTls.STRICT


def test_peer_authentication_is_asked_before_a_policy_of_the_same_level() -> None:
    assert mode(policy("default", "{}"), peer("ns", "default", "{mtls: {mode: STRICT}}")) is MutualTls.STRICT
    assert mode(policy("default", "{}"), MESH) is MutualTls.DISABLE
