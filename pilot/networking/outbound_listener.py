# SPDX-License-Identifier: Apache-2.0
"""Where a sidecar listens for its application's outgoing connections.

First every port is drafted as a plain value: services are added oldest first and conflicts are settled. Only then does Envoy's listener follow
from the draft, and a draft that is equal to the last push's gives its bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from envoy.config.core.v3 import base_pb2
from envoy.config.listener.v3 import listener_pb2

from common.config.kinds.mesh import MeshConfig
from common.config.resource import ResourceKey
from common.mesh.names import SIDECAR_INBOUND, SIDECAR_OUTBOUND
from pilot.model.scope import Scope
from pilot.model.service import Port, Protocol, Service
from pilot.networking.filters import FilterChain, listener_filter, outbound_http, tcp_proxy
from pilot.networking.names import BLACK_HOLE, PASSTHROUGH, VIRTUAL_OUTBOUND, WILDCARD_ADDRESS
from pilot.networking.route_match import Place
from pilot.networking.tcp_route import TcpChain, distinct, service_chains
from pilot.networking.wire import optional_seconds, set_seconds, set_socket

Listener = listener_pb2.Listener

_SNIFFED: Final = ("http/1.0", "http/1.1", "h2c")
"""What Envoy's HTTP inspector finds in plaintext. Istio 1.4 wrote h2 for the last."""


@dataclass(frozen=True, slots=True)
class ListenerDraft:
    """One outbound listener."""

    address: str
    port: int
    bound: bool
    """Really bound (NONE mode), instead of being handed connections by the virtual listener."""
    route_config: str
    """The routes of its HTTP chain; empty when it has none."""
    chains: tuple[TcpChain, ...]
    fallthrough: str
    """Cluster for connections that no chain takes; empty to refuse them."""
    sources: tuple[ResourceKey, ...]

    @property
    def name(self) -> str:
        return f"{self.address}_{self.port}"

    @property
    def sniffs(self) -> bool:
        """HTTP and other protocols share the port, so the first bytes decide."""
        return bool(self.route_config and self.chains)


@dataclass(slots=True)
class _Port:
    """What has been collected for one address and port."""

    route_config: str = ""
    chains: list[TcpChain] = field(default_factory=list)
    sources: dict[ResourceKey, None] = field(default_factory=dict)


def draft_listeners(scope: Scope, mesh: MeshConfig, *, bind: str, met: tuple[tuple[tuple[str, str], ...], ...]) -> Iterator[ListenerDraft]:
    """Drafts of all listeners of a scope, by address and port. `bind` is the address of NONE mode, empty in REDIRECT mode.

    HTTP services of a port share the wildcard listener. Others have one of their own if they have an address, else they share the wildcard
    too: by server name or subnet where they can, and the oldest takes the rest.
    """
    ports: dict[tuple[str, int], _Port] = {}
    wildcard = bind or WILDCARD_ADDRESS
    for number in scope.ports:
        place = Place(number, frozenset({"mesh"}), met)
        for service in scope.on_port(number):
            port = service.port(number)
            if port is not None:
                _add(ports, scope, service, port, place, wildcard, redirected=not bind)
    if not bind:
        for number in (SIDECAR_OUTBOUND, SIDECAR_INBOUND):
            ports.pop((wildcard, number), None)  # the virtual listeners have these addresses, and Envoy refuses a second one
    rest = PASSTHROUGH if mesh.outboundTrafficPolicy.mode == "ALLOW_ANY" else BLACK_HOLE
    for (address, number), collected in sorted(ports.items()):
        chains = distinct(collected.chains)
        needs_rest = bool(chains) and not bind and not any(chain.takes_all for chain in chains)
        yield ListenerDraft(
            address, number, bool(bind), collected.route_config, chains, rest if needs_rest else "", tuple(collected.sources)
        )


def _add(
    ports: dict[tuple[str, int], _Port], scope: Scope, service: Service, port: Port, place: Place, wildcard: str, *, redirected: bool
) -> None:
    if port.protocol is Protocol.HTTP and port.number == 443:
        return  # Istio's guard: plaintext HTTP on the HTTPS port is nearly always a mistake, and would catch everybody's TLS
    virtual = [address for address in service.addresses if "/" not in address]
    own_addresses = redirected and bool(virtual) and not port.protocol.is_http
    for address in virtual if own_addresses else (wildcard,):
        target = ports.setdefault((address, port.number), _Port())
        if port.protocol.is_http:
            target.route_config = str(port.number)
            continue  # its sources are its routes'
        if port.protocol is Protocol.UNSUPPORTED:
            target.route_config = f"{service.hostname}:{port.number}" if own_addresses else str(port.number)
        target.sources[service.source] = None
        for chain in service_chains(scope, service, port, place, addressed=own_addresses):
            target.chains.append(chain)
            if chain.source is not None:
                target.sources[chain.source] = None


def build_listener(draft: ListenerDraft, mesh: MeshConfig) -> Listener:
    """Envoy's form of a draft."""
    listener = Listener(name=draft.name, traffic_direction=base_pb2.OUTBOUND)
    set_socket(listener.address, draft.address, draft.port)
    listener.bind_to_port.value = draft.bound
    for chain in draft.chains:
        _add_tcp(listener, chain, mesh, plaintext=False)
        if draft.sniffs and not chain.server_names:
            _add_tcp(listener, chain, mesh, plaintext=True)
    if draft.fallthrough:
        rest = TcpChain(((draft.fallthrough, 1),), draft.fallthrough)
        _add_tcp(listener, rest, mesh, plaintext=False)
        if draft.sniffs:
            _add_tcp(listener, rest, mesh, plaintext=True)
    if draft.route_config:
        http = listener.filter_chains.add()
        if draft.sniffs:
            http.filter_chain_match.transport_protocol = "raw_buffer"
            http.filter_chain_match.application_protocols.extend(_SNIFFED)
        outbound_http(http, mesh, stat_prefix=f"outbound_{draft.name}", route_config=draft.route_config)
    if draft.sniffs or any(chain.server_names for chain in draft.chains):
        listener.listener_filters.append(listener_filter("tls_inspector"))
        if draft.sniffs:
            listener.listener_filters.append(listener_filter("http_inspector"))
        set_seconds(listener.listener_filters_timeout, optional_seconds(mesh.protocolDetectionTimeout) or 0.1)
        listener.continue_on_listener_filters_timeout = True
    return listener


def _add_tcp(listener: Listener, chain: TcpChain, mesh: MeshConfig, *, plaintext: bool) -> None:
    """`plaintext` repeats a chain for connections that are surely not TLS.

    Envoy chooses by transport protocol before ALPN and never looks back: beside an HTTP chain for plaintext, a chain without transport
    protocol would not get the plaintext that is no HTTP.
    """
    target = listener.filter_chains.add()
    if chain.server_names:
        target.filter_chain_match.server_names.extend(chain.server_names)
    for prefix in chain.prefixes:
        address, _, length = prefix.partition("/")
        target.filter_chain_match.prefix_ranges.add(address_prefix=address).prefix_len.value = int(length)
    if plaintext:
        target.filter_chain_match.transport_protocol = "raw_buffer"
    _proxy(target, mesh, chain)


def _proxy(target: FilterChain, mesh: MeshConfig, chain: TcpChain) -> None:
    refused = chain.clusters[0][0] == BLACK_HOLE
    tcp_proxy(
        target, mesh, clusters=chain.clusters, stat_prefix=chain.stat_prefix, direction=None if refused else "outbound", logged=not refused
    )


def virtual_outbound(mesh: MeshConfig) -> Listener:
    """The listener that intercepted connections reach first. It hands them to the listener of their original destination.

    Istio 1.4 also refused the proxy's own addresses here; that would tie the listener to one proxy, and interception does not bring a
    workload's calls to itself here anyway.
    """
    listener = Listener(name=VIRTUAL_OUTBOUND, traffic_direction=base_pb2.OUTBOUND)
    set_socket(listener.address, WILDCARD_ADDRESS, SIDECAR_OUTBOUND)
    listener.use_original_dst.value = True
    guard = listener.filter_chains.add(name="virtualOutbound-blackhole")
    guard.filter_chain_match.destination_port.value = SIDECAR_OUTBOUND
    _proxy(guard, mesh, TcpChain(((BLACK_HOLE, 1),), BLACK_HOLE))
    rest = PASSTHROUGH if mesh.outboundTrafficPolicy.mode == "ALLOW_ANY" else BLACK_HOLE
    _proxy(listener.filter_chains.add(name="virtualOutbound-catchall-tcp"), mesh, TcpChain(((rest, 1),), rest))
    return listener
