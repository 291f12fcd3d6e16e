# SPDX-License-Identifier: Apache-2.0
"""TLS towards services: who is trusted, and when it is spoken at all."""

from __future__ import annotations

from envoy.config.cluster.v3 import cluster_pb2
from envoy.extensions.transport_sockets.tls.v3 import tls_pb2

from tests.generated_mesh import Mesh, proxy

HOST = "a.default.svc.cluster.local"
SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: a, namespace: default}
spec: {clusterIP: 240.240.0.1, selector: {app: a}, ports: [{name: http, port: 80}, {name: grpc, port: 90}]}
"""
WORKLOAD = """
apiVersion: networking.istio.io/v1alpha3
kind: WorkloadEntry
metadata: {name: a-1, namespace: default, annotations: {fourmast.io/registered: "true"}}
spec: {address: 10.1.0.1, labels: {app: a}, serviceAccount: one}
"""
RULE = """
apiVersion: networking.istio.io/v1alpha3
kind: DestinationRule
metadata: {name: a, namespace: default}
spec: {host: %s, trafficPolicy: {tls: %s}}
"""
MESH = """
apiVersion: mesh.istio.io/v1alpha1
kind: MeshConfig
metadata: {name: default, namespace: istio-system}
spec: %s
"""
EXTERNAL = """
apiVersion: networking.istio.io/v1alpha3
kind: ServiceEntry
metadata: {name: e, namespace: default}
spec: {hosts: [e.example], ports: [{number: 443, name: https, protocol: HTTPS}], resolution: DNS}
"""


def cluster(*texts: str, name: str = f"outbound|80||{HOST}", **who: object) -> cluster_pb2.Cluster:
    return Mesh(*texts).ask(proxy(**who)).clusters[name]


def context(socket: object) -> tls_pb2.UpstreamTlsContext:
    found = tls_pb2.UpstreamTlsContext()
    assert socket.typed_config.Unpack(found)  # type: ignore[attr-defined]
    return found


def sans(found: tls_pb2.UpstreamTlsContext) -> list[str]:
    matchers = found.common_tls_context.combined_validation_context.default_validation_context.match_typed_subject_alt_names
    return [item.matcher.exact or f"{item.matcher.prefix}*" for item in matchers]


def test_mutual_tls_is_automatic_where_the_endpoint_understands_it() -> None:
    found = cluster(SERVICE, WORKLOAD)
    assert not found.HasField("transport_socket"), "others get Envoy's default, plaintext"
    (secure,) = found.transport_socket_matches
    assert secure.match.fields["tlsMode"].string_value == "istio"
    tls = context(secure.transport_socket)
    assert tls.sni == f"outbound_.80_._.{HOST}"
    assert list(tls.common_tls_context.alpn_protocols) == ["istio"]
    assert sans(tls) == ["spiffe://cluster.local/ns/default/sa/one"]


def test_http2_services_offer_h2_behind_istio() -> None:
    secure = cluster(SERVICE, WORKLOAD, name=f"outbound|90||{HOST}").transport_socket_matches[0]
    assert list(context(secure.transport_socket).common_tls_context.alpn_protocols) == ["istio", "h2"]


def test_while_no_account_is_known_only_the_namespace_of_the_service_is_trusted() -> None:
    secure = cluster(SERVICE).transport_socket_matches[0]
    assert sans(context(secure.transport_socket)) == ["spiffe://cluster.local/ns/default/sa/*"]


def test_it_can_be_switched_off_for_the_mesh_or_a_host() -> None:
    assert not cluster(SERVICE, MESH % "{enableAutoMtls: false}").transport_socket_matches
    disabled = cluster(SERVICE, RULE % ("a", "{mode: DISABLE}"))
    assert not disabled.transport_socket_matches and not disabled.HasField("transport_socket")


def test_external_services_are_left_alone() -> None:
    found = cluster(EXTERNAL, name="outbound|443||e.example")
    assert not found.transport_socket_matches and not found.HasField("transport_socket")


def test_a_rule_may_demand_mutual_tls_with_its_own_names() -> None:
    found = cluster(SERVICE, WORKLOAD, RULE % ("a", "{mode: ISTIO_MUTUAL, subjectAltNames: ['spiffe://x/ns/y/sa/z'], sni: other}"))
    tls = context(found.transport_socket)
    assert not found.transport_socket_matches
    assert sans(tls) == ["spiffe://x/ns/y/sa/z"] and tls.sni == "other"


def test_simple_tls_without_a_ca_checks_no_names() -> None:
    found = cluster(
        EXTERNAL, RULE % ("e.example", "{mode: SIMPLE, sni: e.example, subjectAltNames: [e.example]}"), name="outbound|443||e.example"
    )
    tls = context(found.transport_socket)
    assert tls.sni == "e.example" and not tls.common_tls_context.HasField("validation_context")


def test_mutual_tls_with_files() -> None:
    settings = "{mode: MUTUAL, clientCertificate: /c, privateKey: /k, caCertificates: /ca, subjectAltNames: [e.example]}"
    tls = context(cluster(EXTERNAL, RULE % ("e.example", settings), name="outbound|443||e.example").transport_socket).common_tls_context
    assert tls.tls_certificates[0].certificate_chain.filename == "/c" and tls.tls_certificates[0].private_key.filename == "/k"
    assert tls.validation_context.trusted_ca.filename == "/ca"
    assert len(tls.validation_context.match_typed_subject_alt_names) == 2


def test_passthrough_needs_a_proxy_that_knows_original_destinations() -> None:
    headless = SERVICE.replace("240.240.0.1", "None")
    assert cluster(headless).type == cluster_pb2.Cluster.ORIGINAL_DST
    assert cluster(headless, interception="NONE").type == cluster_pb2.Cluster.EDS
    assert cluster(headless, type="router").type == cluster_pb2.Cluster.EDS


def test_limits_are_off_until_a_rule_sets_them() -> None:
    limits = cluster(SERVICE).circuit_breakers.thresholds[0]
    assert limits.max_connections.value == limits.max_pending_requests.value == limits.max_requests.value == 2**32 - 1
