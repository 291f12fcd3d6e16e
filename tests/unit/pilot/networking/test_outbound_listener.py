# SPDX-License-Identifier: Apache-2.0
"""Where a sidecar listens for outgoing connections, and how ports are shared."""

from __future__ import annotations

from envoy.config.listener.v3 import listener_pb2
from envoy.extensions.filters.network.tcp_proxy.v3 import tcp_proxy_pb2
from hypothesis import given
from hypothesis import strategies as st

from pilot.networking.tcp_route import TcpChain, distinct, mask, sni_names
from tests.generated_mesh import MANAGER, Mesh, proxy

NONE = {"interception": "NONE", "outboundBind": "127.11.0.5"}


def service(name: str, port: str, address: str = "") -> str:
    ip = f"clusterIP: {address}, " if address else ""
    return f"""
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: default}}
spec: {{{ip}selector: {{app: {name}}}, ports: [{port}]}}
"""


def listeners(*texts: str, **who: object) -> dict[str, listener_pb2.Listener]:
    found = Mesh(*texts).ask(proxy(**who)).listeners
    return {name: listener for name, listener in found.items() if not name.startswith("virtual")}


def targets(listener: listener_pb2.Listener) -> list[str]:
    """Where each chain leads: a cluster, or `http`."""
    found = []
    for chain in listener.filter_chains:
        tcp = tcp_proxy_pb2.TcpProxy()
        found.append("http" if chain.filters[0].name == MANAGER else tcp.cluster if chain.filters[0].typed_config.Unpack(tcp) else "?")
    return found


def test_http_services_share_a_port_and_tcp_services_have_their_address() -> None:
    found = listeners(
        service("a", "{name: http, port: 80}", "240.240.0.1"),
        service("b", "{name: http, port: 80}", "240.240.0.2"),
        service("c", "{name: tcp, port: 80}", "240.240.0.3"),
    )
    assert {name: targets(listener) for name, listener in found.items()} == {
        "0.0.0.0_80": ["http"],
        "240.240.0.3_80": ["outbound|80||c.default.svc.cluster.local"],
    }
    assert all(listener.HasField("bind_to_port") and not listener.bind_to_port.value for listener in found.values())


def test_without_interception_everything_is_bound_on_the_proxys_own_address() -> None:
    found = listeners(service("a", "{name: http, port: 80}", "240.240.0.1"), service("c", "{name: tcp, port: 90}", "240.240.0.3"), **NONE)
    assert {name: targets(listener) for name, listener in found.items()} == {
        "127.11.0.5_80": ["http"],
        "127.11.0.5_90": ["outbound|90||c.default.svc.cluster.local"],
    }
    assert all(listener.bind_to_port.value for listener in found.values())


def test_a_port_that_http_and_tcp_share_is_decided_by_the_first_bytes() -> None:
    (listener,) = listeners(service("h", "{name: http, port: 80}"), service("t", "{name: tcp, port: 80}")).values()
    tcp = "outbound|80||t.default.svc.cluster.local"
    assert targets(listener) == [tcp, tcp, "http"]
    any_tcp, plain_tcp, http = (chain.filter_chain_match for chain in listener.filter_chains)
    assert not any_tcp.transport_protocol and plain_tcp.transport_protocol == http.transport_protocol == "raw_buffer"
    assert list(http.application_protocols) == ["http/1.0", "http/1.1", "h2c"]
    assert [item.name.rpartition(".")[2] for item in listener.listener_filters] == ["tls_inspector", "http_inspector"]


def test_an_undeclared_protocol_is_sniffed_at_its_own_address() -> None:
    (listener,) = listeners(service("u", "{port: 80}", "240.240.0.1")).values()
    answers = Mesh(service("u", "{port: 80}", "240.240.0.1")).ask(proxy())
    assert listener.name == "240.240.0.1_80" and targets(listener)[-1] == "http"
    (virtual_host,) = answers.routes["u.default.svc.cluster.local:80"].virtual_hosts
    assert virtual_host.name == "u.default.svc.cluster.local:80"


def test_http_on_the_https_port_is_ignored() -> None:
    assert listeners(service("a", "{name: http, port: 443}", "240.240.0.1")) == {}


def test_two_tcp_services_without_address_leave_the_port_to_the_first() -> None:
    (listener,) = listeners(service("a", "{name: tcp, port: 1}"), service("b", "{name: tcp, port: 1}")).values()
    assert targets(listener) == ["outbound|1||a.default.svc.cluster.local"]


def test_what_no_server_name_takes_goes_on_or_is_refused() -> None:
    entry = """
apiVersion: networking.istio.io/v1alpha3
kind: ServiceEntry
metadata: {name: e, namespace: default}
spec: {hosts: [e.example], ports: [{number: 443, name: tls, protocol: TLS}], resolution: DNS}
"""
    only = "apiVersion: mesh.istio.io/v1alpha1\nkind: MeshConfig\nmetadata: {name: default, namespace: istio-system}\n"
    only += "spec: {outboundTrafficPolicy: {mode: REGISTRY_ONLY}}\n"
    assert targets(listeners(entry)["0.0.0.0_443"]) == ["outbound|443||e.example", "PassthroughCluster"]
    assert targets(listeners(entry, only)["0.0.0.0_443"]) == ["outbound|443||e.example", "BlackHoleCluster"]
    assert targets(listeners(entry, **NONE)["127.11.0.5_443"]) == ["outbound|443||e.example"]


def test_server_names_and_networks_as_envoy_accepts_them() -> None:
    assert sni_names(["B.example", "*.a.example", "*bad", "b.example"]) == ("*.a.example", "b.example")
    assert sni_names(["a.example", "*"]) == ()
    assert sni_names(["", "foo.*", "*bad", "a\0b"]) is None
    assert mask(["10.1.2.3/8", "10.0.0.0/8", "nonsense", "0.0.0.0/0", "192.168.0.1"]) == ("10.0.0.0/8", "192.168.0.1/32")


CHAINS = st.lists(
    st.builds(
        TcpChain,
        clusters=st.just((("c", 1),)),
        stat_prefix=st.just("c"),
        server_names=st.lists(st.sampled_from(["a", "b", "c"]), unique=True, max_size=3).map(tuple),
        prefixes=st.lists(st.sampled_from(["10.0.0.0/8", "10.1.0.0/16"]), unique=True, max_size=2).map(tuple),
    ),
    max_size=6,
)


@given(CHAINS)
def test_distinct_chains_never_want_the_same_connection_and_nothing_is_lost(chains: list[TcpChain]) -> None:
    def wants(chain: TcpChain) -> list[tuple[str, str]]:
        return [(name, prefix) for name in chain.server_names or ("",) for prefix in chain.prefixes or ("",)]

    kept = [want for chain in distinct(chains) for want in wants(chain)]
    assert len(set(kept)) == len(kept)
    whole = {want for chain in chains if not chain.server_names for want in wants(chain)}
    assert whole <= set(kept)
