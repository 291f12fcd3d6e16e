# SPDX-License-Identifier: Apache-2.0
"""What enters a workload: which ports there are, and what each accepts."""

from __future__ import annotations

import pytest
from envoy.config.listener.v3 import listener_components_pb2, listener_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2 as hcm_pb2
from envoy.extensions.transport_sockets.tls.v3 import tls_pb2

from tests.generated_mesh import Mesh, manager_of, proxy

SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: a, namespace: default}
spec: {clusterIP: 240.240.0.1, selector: {app: a}, ports: [{name: http, port: 80, targetPort: 8080}, {name: tcp, port: 9000}]}
"""
CLUSTER = "inbound|80|http|a.default.svc.cluster.local"
SERVER = {"labels": {"app": "a"}}


def peer(mode: str) -> str:
    metadata = "{name: default, namespace: istio-system}"
    return f"apiVersion: security.istio.io/v1beta1\nkind: PeerAuthentication\nmetadata: {metadata}\nspec: {{mtls: {{mode: {mode}}}}}\n"


def chains(listener: listener_pb2.Listener, port: int) -> list[listener_components_pb2.FilterChain]:
    return [chain for chain in listener.filter_chains if chain.filter_chain_match.destination_port.value == port]


def inbound(*texts: str) -> listener_pb2.Listener:
    return Mesh(*texts).ask(proxy(**SERVER)).listeners["virtualInbound"]


@pytest.mark.parametrize(
    ("mode", "encrypted", "plain"), [("STRICT", True, False), ("PERMISSIVE", True, True), ("DISABLE", False, True), ("UNSET", True, True)]
)
def test_what_a_mode_accepts(mode: str, encrypted: bool, plain: bool) -> None:
    found = chains(inbound(SERVICE, peer(mode)), 8080)
    assert [chain.HasField("transport_socket") for chain in found] == [True] * encrypted + [False] * plain
    if encrypted and plain:
        assert list(found[0].filter_chain_match.application_protocols) == ["istio"]


def test_the_encrypted_side_demands_a_certificate_of_the_trust_domain() -> None:
    chain = chains(inbound(SERVICE, peer("STRICT")), 8080)[0]
    context = tls_pb2.DownstreamTlsContext()
    assert chain.transport_socket.typed_config.Unpack(context)
    assert context.require_client_certificate.value
    validation = context.common_tls_context.combined_validation_context.default_validation_context
    assert [item.matcher.prefix for item in validation.match_typed_subject_alt_names] == ["spiffe://cluster.local/"]
    assert "istio" not in context.common_tls_context.alpn_protocols


def test_strict_covers_ports_that_no_service_has() -> None:
    """Istio 1.4 let plaintext through to them."""
    listener = inbound(SERVICE, peer("STRICT"))
    rest = [chain for chain in listener.filter_chains if not chain.filter_chain_match.HasField("destination_port")]
    assert [chain.HasField("transport_socket") for chain in rest] == [True]


def test_the_peer_is_told_only_when_a_certificate_proves_it() -> None:
    encrypted, plain = chains(inbound(SERVICE), 8080)
    assert manager_of(encrypted).forward_client_cert_details == hcm_pb2.HttpConnectionManager.SANITIZE_SET
    assert manager_of(plain).forward_client_cert_details == hcm_pb2.HttpConnectionManager.SANITIZE


def test_mixer_stands_before_the_router_and_routes_come_by_rds() -> None:
    manager = manager_of(chains(inbound(SERVICE), 8080)[0])
    names = [item.name for item in manager.http_filters]
    assert names[0] == "istio.mixer" and names[-1] == "envoy.filters.http.router"
    assert manager.rds.route_config_name == CLUSTER


def test_one_workload_port_that_two_services_share_belongs_to_the_older() -> None:
    other = SERVICE.replace("name: a,", "name: b, creationTimestamp: '2026-01-01T00:00:00Z',").replace("0.1", "0.2")
    answers = Mesh(SERVICE, other).ask(proxy(**SERVER))
    assert CLUSTER in answers.clusters and "inbound|80|http|b.default.svc.cluster.local" not in answers.clusters
    context = answers.routes[CLUSTER].virtual_hosts[0].routes[0].typed_per_filter_config["istio.mixer"]
    assert b"a.default.svc.cluster.local" in context.value and b"b.default.svc.cluster.local" in context.value


def test_a_registered_workload_decides_its_own_ports() -> None:
    entry = """
apiVersion: networking.istio.io/v1alpha3
kind: WorkloadEntry
metadata: {name: a-1, namespace: default}
spec: {address: 10.1.0.1, labels: {app: a}, ports: {http: 18080}}
"""
    answers = Mesh(SERVICE, entry).ask(proxy(**SERVER))
    address = answers.clusters[CLUSTER].load_assignment.endpoints[0].lb_endpoints[0].endpoint.address.socket_address
    assert (address.address, address.port_value) == ("127.0.0.1", 18080)


def test_without_interception_each_port_is_bound_and_nothing_catches_the_rest() -> None:
    who = proxy(labels={"app": "a"}, address="127.10.0.5", interception="NONE", outboundBind="127.11.0.5", application="127.12.0.5")
    answers = Mesh(SERVICE).ask(who)
    own = {name: listener for name, listener in answers.listeners.items() if name.startswith("127.10.0.5_")}
    assert set(own) == {"127.10.0.5_8080", "127.10.0.5_9000"}
    assert not any(name.startswith("virtual") for name in answers.listeners)
    assert "InboundPassthroughClusterIpv4" not in answers.clusters
    address = answers.clusters[CLUSTER].load_assignment.endpoints[0].lb_endpoints[0].endpoint.address.socket_address
    assert (address.address, address.port_value) == ("127.12.0.5", 8080)


def test_server_first_protocols_are_not_held_up_for_ever() -> None:
    listener = inbound(SERVICE)
    assert listener.continue_on_listener_filters_timeout and listener.listener_filters_timeout.seconds == 1
    names = [item.name.rpartition(".")[2] for item in inbound(SERVICE, peer("DISABLE")).listener_filters]
    assert names == ["original_dst"]
