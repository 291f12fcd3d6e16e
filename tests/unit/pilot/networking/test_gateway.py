# SPDX-License-Identifier: Apache-2.0
"""The edge: which Gateways a proxy serves, how they are merged, and which rules may attach."""

from __future__ import annotations

from envoy.config.route.v3 import route_components_pb2

from tests.generated_mesh import Answers, Mesh, proxy

SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: a, namespace: default}
spec: {clusterIP: 240.240.0.1, selector: {app: a}, ports: [{name: http, port: 9080}]}
"""


def gateway(name: str, servers: str, *, namespace: str = "default", created: str = "", selector: str = "{istio: ingressgateway}") -> str:
    metadata = f'{{name: {name}, namespace: {namespace}, creationTimestamp: "{created}"}}'
    spec = f"{{selector: {selector}, servers: {servers}}}"
    return f"apiVersion: networking.istio.io/v1alpha3\nkind: Gateway\nmetadata: {metadata}\nspec: {spec}\n"


def rule(name: str, hosts: str, http: str, *, gateways: str = "[edge]", namespace: str = "default", created: str = "") -> str:
    metadata = f'{{name: {name}, namespace: {namespace}, creationTimestamp: "{created}"}}'
    spec = f"{{hosts: {hosts}, gateways: {gateways}, http: {http}}}"
    return f"apiVersion: networking.istio.io/v1alpha3\nkind: VirtualService\nmetadata: {metadata}\nspec: {spec}\n"


def edge(*texts: str, **who: object) -> Answers:
    return Mesh(SERVICE, *texts).ask(proxy(type="router", namespace="istio-system", **{"labels": {"istio": "ingressgateway"}, **who}))


HTTP = '[{port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"]}]'
TO_A = "[{name: %s, route: [{destination: {host: a}}]}]"


def hosts(answers: Answers, name: str = "http.80") -> dict[str, list[str]]:
    return {virtual_host.name: [route.name for route in virtual_host.routes] for virtual_host in answers.routes[name].virtual_hosts}


def test_labels_alone_decide_which_proxies_serve_a_gateway() -> None:
    assert set(edge(gateway("edge", HTTP, namespace="anywhere")).listeners) == {"0.0.0.0_80"}
    assert not edge(gateway("edge", HTTP, selector="{istio: other}")).listeners
    assert set(edge(gateway("edge", HTTP, selector="{}")).listeners) == {"0.0.0.0_80"}


def test_without_interception_it_listens_on_the_proxys_own_address() -> None:
    assert set(edge(gateway("edge", HTTP), interception="NONE", address="127.10.0.9").listeners) == {"127.10.0.9_80"}


def test_a_port_without_rules_answers_404() -> None:
    (virtual_host,) = edge(gateway("edge", HTTP)).routes["http.80"].virtual_hosts
    assert virtual_host.name == "blackhole:80" and virtual_host.routes[0].direct_response.status == 404


def test_rules_for_one_host_are_joined_and_their_catch_alls_go_last() -> None:
    old = rule("old", "[a.example]", TO_A % "old-rest", created="2026-01-01T00:00:00Z")
    new = rule(
        "new",
        "[a.example]",
        "[{name: new, match: [{uri: {prefix: /x}}], route: [{destination: {host: a}}]}]",
        created="2026-01-02T00:00:00Z",
    )
    assert hosts(edge(gateway("edge", HTTP), new, old)) == {"a.example:80": ["new", "old-rest"]}


def test_the_narrower_of_server_and_rule_host_is_served() -> None:
    servers = '[{port: {number: 80, name: http, protocol: HTTP}, hosts: ["*.example"]}]'
    assert set(hosts(edge(gateway("edge", servers), rule("r", "['*']", TO_A % "r")))) == {"*.example:80"}
    assert set(hosts(edge(gateway("edge", servers), rule("r", "[a.example, b.other]", TO_A % "r")))) == {"a.example:80"}


def test_a_host_with_a_namespace_admits_rules_of_it_only() -> None:
    servers = '[{port: {number: 80, name: http, protocol: HTTP}, hosts: ["./own.example", "*/any.example"]}]'
    intruder = rule("r", "[own.example, any.example]", TO_A % "r", namespace="other", gateways="[default/edge]")
    assert set(hosts(edge(gateway("edge", servers), intruder))) == {"any.example:80"}


def test_a_rule_for_sidecars_does_not_appear_at_the_edge() -> None:
    assert set(hosts(edge(gateway("edge", HTTP), rule("r", "[a.example]", TO_A % "r", gateways="[mesh]")))) == {"blackhole:80"}


def test_https_redirect_covers_its_hosts() -> None:
    servers = '[{port: {number: 80, name: http, protocol: HTTP}, hosts: ["a.example"], tls: {httpsRedirect: true}}]'
    (virtual_host,) = edge(gateway("edge", servers), rule("r", "[a.example]", TO_A % "r")).routes["http.80"].virtual_hosts
    assert virtual_host.require_tls == route_components_pb2.VirtualHost.ALL


def test_the_oldest_server_decides_what_a_port_is() -> None:
    tcp = "[{port: {number: 80, name: tcp, protocol: TCP}, hosts: ['*']}]"
    old, new = gateway("old", HTTP, created="2026-01-01T00:00:00Z"), gateway("new", tcp, created="2026-01-02T00:00:00Z")
    assert "http.80" in edge(new, old).routes


def test_servers_that_end_tls_are_not_served_in_plaintext() -> None:
    servers = (
        "[{port: {number: 443, name: https, protocol: HTTPS}, hosts: ['*'], tls: {mode: SIMPLE, serverCertificate: /c, privateKey: /k}}]"
    )
    assert not edge(gateway("edge", servers)).listeners


def test_the_edge_trusts_no_header_and_checks_before_it_routes() -> None:
    manager = edge(gateway("edge", HTTP)).manager("0.0.0.0_80")
    assert manager.use_remote_address.value and manager.server_name == "istio-envoy" and manager.normalize_path.value
    names = [item.name for item in manager.http_filters]
    assert names[0] == "istio.mixer" and names[-1] == "envoy.filters.http.router"
