# SPDX-License-Identifier: Apache-2.0
"""What a namespace sees, and which DestinationRule it obeys."""

from __future__ import annotations

from pilot.model.destination_rules import effective_policy
from pilot.model.scope import Scope
from tests.generated_mesh import Mesh


def entry(namespace: str, host: str = "api.example.com", *, created: str = "", export: str = "*") -> str:
    metadata = f'{{name: {host.replace("*", "any")}, namespace: {namespace}, creationTimestamp: "{created}"}}'
    spec = f'{{hosts: ["{host}"], ports: [{{number: 80, name: http, protocol: HTTP}}], resolution: DNS, exportTo: ["{export}"]}}'
    return f"apiVersion: networking.istio.io/v1alpha3\nkind: ServiceEntry\nmetadata: {metadata}\nspec: {spec}\n"


def rule(name: str, namespace: str, spec: str, *, created: str = "") -> str:
    metadata = f'{{name: {name}, namespace: {namespace}, creationTimestamp: "{created}"}}'
    return f"apiVersion: networking.istio.io/v1alpha3\nkind: DestinationRule\nmetadata: {metadata}\nspec: {spec}\n"


def sees(scope: Scope, host: str = "api.example.com") -> str | None:
    service = scope.by_host.get(host)
    return service.namespace if service is not None else None


def governing(mesh: Mesh, namespace: str, host: str = "api.example.com") -> tuple[str, ...]:
    scope = mesh.push.scope(namespace)
    found = scope.destination_rule(scope.by_host[host])
    return tuple(source.mcp_name for source in found.sources) if found is not None else ()


def test_private_services_are_seen_from_their_namespace_only() -> None:
    mesh = Mesh(entry("ns1", export="."))
    assert sees(mesh.push.scope("ns1")) == "ns1"
    assert sees(mesh.push.scope("ns2")) is None


def test_of_two_services_with_one_name_the_own_wins_then_the_oldest() -> None:
    mesh = Mesh(entry("ns1", created="2026-01-02T00:00:00Z"), entry("ns2", created="2026-01-01T00:00:00Z"))
    assert sees(mesh.push.scope("ns1")) == "ns1"
    assert sees(mesh.push.scope("ns3")) == "ns2"


def test_the_client_namespace_decides_before_the_service_and_the_root() -> None:
    service, host = entry("ns1"), "{host: api.example.com}"
    client, owner, root = rule("c", "client", host), rule("s", "ns1", host), rule("r", "istio-system", host)
    assert governing(Mesh(service, client, owner, root), "client") == ("client/c",)
    assert governing(Mesh(service, client, owner, root), "stranger") == ("ns1/s",)
    assert governing(Mesh(service, client, root), "stranger") == ("istio-system/r",)
    assert governing(Mesh(service, client), "stranger") == ()


def test_private_rules_count_at_home_only() -> None:
    private = rule("s", "ns1", '{host: api.example.com, exportTo: ["."]}')
    assert governing(Mesh(entry("ns1"), private), "ns1") == ("ns1/s",)
    assert governing(Mesh(entry("ns1"), private), "ns2") == ()


def test_the_most_specific_host_applies_alone() -> None:
    wide = rule("wide", "ns1", '{host: "*.example.com", subsets: [{name: wide}]}', created="2026-01-01T00:00:00Z")
    exact = rule("exact", "ns1", "{host: api.example.com, subsets: [{name: exact}]}", created="2026-01-02T00:00:00Z")
    assert governing(Mesh(entry("ns1"), wide, exact), "ns1") == ("ns1/exact",)
    assert governing(Mesh(entry("ns1"), wide), "ns1") == ("ns1/wide",)


def test_rules_for_one_host_are_merged_and_the_merge_leaves_no_trace() -> None:
    first = rule("a", "ns1", "{host: api.example.com, subsets: [{name: v1, labels: {version: v1}}]}", created="2026-01-01T00:00:00Z")
    second = rule(
        "b",
        "ns1",
        "{host: api.example.com, trafficPolicy: {tls: {mode: DISABLE}}, subsets: [{name: v1, labels: {version: x}}, {name: v2}]}",
        created="2026-01-02T00:00:00Z",
    )
    mesh = Mesh(entry("ns1"), first, second)
    scope = mesh.push.scope("ns1")
    merged = scope.destination_rule(scope.by_host["api.example.com"])
    assert merged is not None and merged.policy is not None
    assert list(merged.subsets) == ["v1", "v2"] and merged.subsets["v1"].labels == {"version": "v1"}
    after = Mesh(entry("ns1"), first, previous=mesh).push.scope("ns1")
    alone = after.destination_rule(after.by_host["api.example.com"])
    assert alone is not None and list(alone.subsets) == ["v1"] and alone.policy is None


def test_port_level_settings_replace_a_layer_and_a_subset_overlays_part_by_part() -> None:
    text = """
      host: api.example.com
      trafficPolicy:
        loadBalancer: {simple: RANDOM}
        tls: {mode: DISABLE}
        portLevelSettings: [{port: {number: 80}, loadBalancer: {simple: LEAST_CONN}}]
      subsets: [{name: v1, trafficPolicy: {tls: {mode: ISTIO_MUTUAL}}}]
    """
    scope = Mesh(entry("ns1"), rule("a", "ns1", "\n" + text)).push.scope("ns1")
    found = scope.destination_rule(scope.by_host["api.example.com"])
    whole, port, subset = effective_policy(found, "", 443), effective_policy(found, "", 80), effective_policy(found, "v1", 80)
    assert whole.load_balancer is not None and whole.load_balancer.simple == "RANDOM" and whole.tls is not None
    assert port.load_balancer is not None and port.load_balancer.simple == "LEAST_CONN" and port.tls is None
    assert subset.load_balancer == port.load_balancer and subset.tls is not None and subset.tls.mode == "ISTIO_MUTUAL"


def sidecar(namespace: str, *imported: str, selector: str = "") -> str:
    spec = f"{{egress: [{{hosts: [{', '.join(repr(host) for host in imported)}]}}]{selector}}}"
    metadata = f"{{name: default, namespace: {namespace}}}"
    return f"apiVersion: networking.istio.io/v1alpha3\nkind: Sidecar\nmetadata: {metadata}\nspec: {spec}\n"


def seen(mesh: Mesh, namespace: str, *, router: bool = False) -> set[str]:
    return set(mesh.push.scope(namespace, router=router).by_host)


ENTRIES = (entry("ns1", "a.example.com"), entry("ns2", "b.example.com"), entry("ns2", "c.example.org"))
EVERYTHING = {"a.example.com", "b.example.com", "c.example.org"}


def test_a_sidecar_restricts_its_namespace_and_no_other_and_no_gateway() -> None:
    mesh = Mesh(*ENTRIES, sidecar("ns1", "./*", "ns2/*.example.org"))
    assert seen(mesh, "ns1") == {"a.example.com", "c.example.org"}
    assert seen(mesh, "ns2") == seen(mesh, "ns1", router=True) == EVERYTHING


def test_the_root_namespace_restricts_who_has_no_sidecar() -> None:
    mesh = Mesh(*ENTRIES, sidecar("istio-system", "*/b.example.com"), sidecar("ns1", "*/*"))
    assert seen(mesh, "ns1") == EVERYTHING
    assert seen(mesh, "ns2") == {"b.example.com"}


def test_a_tilde_imports_nothing_and_a_selected_workload_is_not_a_namespace() -> None:
    assert seen(Mesh(*ENTRIES, sidecar("ns1", "~/*")), "ns1") == set()
    selector = ", workloadSelector: {labels: {app: x}}"
    assert seen(Mesh(*ENTRIES, sidecar("ns1", "~/*", selector=selector)), "ns1") == EVERYTHING


def test_rules_are_imported_by_their_hosts_and_a_removed_sidecar_restricts_no_more() -> None:
    rules = "".join(
        f"""
---
apiVersion: networking.istio.io/v1alpha3
kind: VirtualService
metadata: {{name: {host[0]}, namespace: ns2}}
spec: {{hosts: [{host}], http: [{{route: [{{destination: {{host: {host}}}}}]}}]}}
"""
        for host in ("a.example.com", "b.example.com")
    )
    restricted = Mesh(*ENTRIES, rules, sidecar("ns1", "ns2/b.example.com"))
    assert [rule.key.name for rule in restricted.push.scope("ns1").rules] == ["b"]
    free = Mesh(*ENTRIES, rules, previous=restricted)
    assert [rule.key.name for rule in free.push.scope("ns1").rules] == ["a", "b"]
    assert seen(free, "ns1") == EVERYTHING
