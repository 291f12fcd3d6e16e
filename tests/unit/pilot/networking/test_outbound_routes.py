# SPDX-License-Identifier: Apache-2.0
"""Which virtual host and which routes a request meets, by the rules of Istio 1.4."""

from __future__ import annotations

from envoy.config.route.v3 import route_components_pb2, route_pb2

from common.mesh.names import TYPE_ROUTE
from tests.generated_mesh import Mesh, proxy


def service(name: str, ports: str = "[{name: http, port: 80}]", *, namespace: str = "default", address: str = "240.240.0.1") -> str:
    return f"""
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: {namespace}}}
spec: {{clusterIP: {address}, selector: {{app: {name}}}, ports: {ports}}}
"""


def rule(name: str, spec: str, *, namespace: str = "default", created: str = "") -> str:
    metadata = f'{{name: {name}, namespace: {namespace}, creationTimestamp: "{created}"}}'
    return f"apiVersion: networking.istio.io/v1alpha3\nkind: VirtualService\nmetadata: {metadata}\nspec: {spec}\n"


def routes(*texts: str, name: str = "80", **who: object) -> route_pb2.RouteConfiguration:
    (item,) = Mesh(*texts).generated(proxy(**who), TYPE_ROUTE, {name})
    return route_pb2.RouteConfiguration.FromString(item.body)


def host(configuration: route_pb2.RouteConfiguration, domain: str) -> route_components_pb2.VirtualHost:
    """Who answers for a host: exact, else the longest suffix wildcard, else the catch-all (Envoy's rule)."""
    by_domain = {name: virtual_host for virtual_host in configuration.virtual_hosts for name in virtual_host.domains}
    suffixes = [f"*{domain[cut:]}" for cut in range(1, len(domain))]
    return next(by_domain[name] for name in (domain, *suffixes, "*") if name in by_domain)


def first_cluster(configuration: route_pb2.RouteConfiguration, domain: str) -> str:
    return host(configuration, domain).routes[0].route.cluster


TO_V2 = "{hosts: [%s], http: [{route: [{destination: {host: b, subset: v2}}]}]}"


def test_short_names_mean_the_service_of_the_callers_namespace() -> None:
    texts = (service("a"), service("a", namespace="other", address="240.240.0.2"))
    here, there = routes(*texts), routes(*texts, namespace="other")
    assert first_cluster(here, "a") == "outbound|80||a.default.svc.cluster.local"
    assert first_cluster(there, "a:80") == "outbound|80||a.other.svc.cluster.local"
    assert first_cluster(here, "a.other") == first_cluster(here, "240.240.0.2") == "outbound|80||a.other.svc.cluster.local"


def test_a_rule_applies_to_every_port_of_its_host_and_keeps_the_port() -> None:
    texts = (service("b", "[{name: http, port: 80}, {name: http-2, port: 81}]"), rule("b", TO_V2 % "b"))
    assert first_cluster(routes(*texts), "b") == "outbound|80|v2|b.default.svc.cluster.local"
    assert first_cluster(routes(*texts, name="81"), "b") == "outbound|81|v2|b.default.svc.cluster.local"


def test_the_oldest_rule_of_a_host_wins_and_a_private_one_before_it() -> None:
    old = rule("old", "{hosts: [b], http: [{name: old, route: [{destination: {host: b}}]}]}", created="2026-01-01T00:00:00Z")
    new = rule("new", "{hosts: [b], http: [{name: new, route: [{destination: {host: b}}]}]}", created="2026-01-02T00:00:00Z")
    private = rule(
        "p", "{hosts: [b], exportTo: ['.'], http: [{name: p, route: [{destination: {host: b}}]}]}", created="2026-01-03T00:00:00Z"
    )
    assert host(routes(service("b"), new, old), "b").routes[0].name == "old"
    assert host(routes(service("b"), new, old, private), "b").routes[0].name == "p"


def test_a_rule_for_gateways_only_is_not_for_sidecars() -> None:
    gateway = rule("g", "{hosts: [b], gateways: [edge], http: [{name: g, route: [{destination: {host: b}}]}]}")
    both = rule("g", "{hosts: [b], gateways: [edge, mesh], http: [{name: g, route: [{destination: {host: b}}]}]}")
    assert host(routes(service("b"), gateway), "b").routes[0].name == "default"
    assert host(routes(service("b"), both), "b").routes[0].name == "g"


def test_source_labels_select_the_caller_unless_the_match_names_gateways() -> None:
    to_b = "route: [{destination: {host: b}}]"
    spec = "{hosts: [b], http: [{name: mine, match: [{sourceLabels: {app: me}%s}], " + f"{to_b}}}, {{name: rest, {to_b}}}]}}"
    texts = (service("b"), rule("b", spec % ""))
    assert [route.name for route in host(routes(*texts, labels={"app": "me", "x": "y"}), "b").routes] == ["mine"]
    assert [route.name for route in host(routes(*texts, labels={"app": "you"}), "b").routes] == ["rest"]
    named = (service("b"), rule("b", spec % ", gateways: [mesh]"))
    assert host(routes(*named, labels={"app": "you"}), "b").routes[0].name == "mine"


def test_nothing_follows_a_catch_all() -> None:
    to_b = "route: [{destination: {host: b}}]"
    spec = f"{{hosts: [b], http: [{{name: all, {to_b}}}, {{name: never, match: [{{uri: {{prefix: /x}}}}], {to_b}}}]}}"
    assert [route.name for route in host(routes(service("b"), rule("b", spec)), "b").routes] == ["all"]


def test_a_rule_without_a_usable_route_leaves_the_default() -> None:
    spec = "{hosts: [b], http: [{match: [{port: 99}], route: [{destination: {host: b}}]}]}"
    assert host(routes(service("b"), rule("b", spec)), "b").routes[0].name == "default"


def test_hosts_that_nobody_registered_are_routed_on_port_80_only() -> None:
    texts = (service("b", "[{name: http, port: 80}, {name: http-2, port: 81}]"), rule("x", TO_V2 % "x.example"))
    assert first_cluster(routes(*texts), "x.example") == "outbound|80|v2|b.default.svc.cluster.local"
    assert host(routes(*texts, name="81"), "x.example").name == "allow_any"


def test_a_rule_for_one_name_under_a_wildcard_service_leaves_the_other_names() -> None:
    wild = """
apiVersion: networking.istio.io/v1alpha3
kind: ServiceEntry
metadata: {name: wild, namespace: default}
spec: {hosts: ["*.wiki.example"], ports: [{number: 80, name: http, protocol: HTTP}], resolution: NONE}
"""
    configuration = routes(wild, service("b"), rule("x", TO_V2 % "en.wiki.example"))
    assert first_cluster(configuration, "en.wiki.example") == "outbound|80|v2|b.default.svc.cluster.local"
    assert first_cluster(configuration, "de.wiki.example") == "outbound|80||*.wiki.example"


def test_unregistered_hosts_go_where_they_were_going_or_nowhere() -> None:
    only = "apiVersion: mesh.istio.io/v1alpha1\nkind: MeshConfig\nmetadata: {name: default, namespace: istio-system}\n"
    only += "spec: {outboundTrafficPolicy: {mode: REGISTRY_ONLY}}\n"
    assert first_cluster(routes(service("a")), "stranger") == "PassthroughCluster"
    blocked = host(routes(service("a"), only), "stranger")
    assert blocked.name == "block_all" and blocked.routes[0].direct_response.status == 502


def test_the_full_name_of_a_host_is_never_lost_to_a_short_name_of_an_older_one() -> None:
    thief = """
apiVersion: networking.istio.io/v1alpha3
kind: ServiceEntry
metadata: {name: z, namespace: default, creationTimestamp: "2026-01-01T00:00:00Z"}
spec: {hosts: [a.default], addresses: [240.240.0.1], ports: [{number: 80, name: http, protocol: HTTP}], resolution: DNS}
"""
    configuration = routes(service("a"), thief)
    assert first_cluster(configuration, "a.default") == "outbound|80||a.default"
    assert first_cluster(configuration, "a") == first_cluster(configuration, "240.240.0.1") == "outbound|80||a.default.svc.cluster.local"


def test_retries_are_the_meshs_unless_a_route_sets_or_forbids_them() -> None:
    spec = "{hosts: [b], http: [{route: [{destination: {host: b}}]%s}]}"
    default = host(routes(service("b"), rule("b", spec % "")), "b").routes[0].route
    none = host(routes(service("b"), rule("b", spec % ", retries: {attempts: 0}")), "b").routes[0].route
    own = host(routes(service("b"), rule("b", spec % ", retries: {attempts: 5, retryOn: 'gateway-error,409'}")), "b").routes[0].route
    assert default.retry_policy.num_retries.value == 2 and list(default.retry_policy.retriable_status_codes) == [503]
    assert not none.HasField("retry_policy")
    assert own.retry_policy.num_retries.value == 5
    assert own.retry_policy.retry_on == "gateway-error,retriable-status-codes" and list(own.retry_policy.retriable_status_codes) == [409]


def test_a_single_destination_needs_no_weight_and_zero_weights_are_left_out() -> None:
    spec = "{hosts: [b], http: [{route: [{destination: {host: b}, weight: 0}, {destination: {host: a}, weight: 100}]}]}"
    (only,) = host(routes(service("a"), service("b", address="240.240.0.2"), rule("b", spec)), "b").routes
    assert only.route.cluster == "outbound|80||a.default.svc.cluster.local"


def test_the_service_that_is_meant_is_named_to_the_mesh_and_never_outside() -> None:
    external = """
apiVersion: networking.istio.io/v1alpha3
kind: ServiceEntry
metadata: {name: e, namespace: default}
spec: {hosts: [e.example], ports: [{number: 80, name: http, protocol: HTTP}], resolution: DNS}
"""
    configuration = routes(service("a"), external)
    inside, outside = host(configuration, "a").routes[0], host(configuration, "e.example").routes[0]
    assert [item.header.key for item in inside.request_headers_to_add] == ["x-istio-attributes"]
    assert inside.request_headers_to_add[0].header.value.startswith("a.default.svc.cluster.local")
    assert not outside.request_headers_to_add
    for unknown in (outside, host(configuration, "stranger").routes[0]):
        assert list(unknown.request_headers_to_remove) == ["x-istio-attributes"]
