# SPDX-License-Identifier: Apache-2.0
"""How connections that are not HTTP find their cluster: filter chains by server name and destination address.

Chains are plain values here, so that listeners can merge and compare them before any of it becomes Envoy's.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Final

from common.config.kinds.networking import L4MatchAttributes, RouteDestination, TLSMatchAttributes
from common.config.resource import ResourceKey
from pilot.model import hosts
from pilot.model.scope import Scope
from pilot.model.service import Port, Service
from pilot.model.virtual_services import RoutingRule
from pilot.networking.names import outbound_cluster
from pilot.networking.route import resolve
from pilot.networking.route_match import Place
from pilot.networking.wire import bounded_weight

_SERVER_NAME: Final = re.compile(r"(\*\.)?[^*\0]+\Z")


@dataclass(frozen=True, slots=True)
class TcpChain:
    """One filter chain that ends in a TCP proxy. Without server names and prefixes it takes every connection."""

    clusters: tuple[tuple[str, int], ...]
    stat_prefix: str
    server_names: tuple[str, ...] = ()
    prefixes: tuple[str, ...] = ()
    source: ResourceKey | None = None

    @property
    def takes_all(self) -> bool:
        return not self.server_names and not self.prefixes


def service_chains(scope: Scope, service: Service, port: Port, place: Place, *, addressed: bool) -> Iterator[TcpChain]:
    """The chains for one port of a service. `addressed` says that the listener's address already means this service."""
    prefixes = () if addressed else mask(address for address in service.addresses if "/" in address)
    rules = [rule for rule in scope.mesh_rules if any(hosts.overlaps(host, service.hostname) for host in rule.hosts)]
    if port.protocol.is_tls:
        chains = [chain for rule in rules for chain in tls_chains(scope, rule, place, prefixes)]
        if not chains:
            names = () if addressed or prefixes else sni_names((service.hostname,))
            if names is not None:
                chains = [_default(service, port, server_names=names, prefixes=prefixes)]
        yield from chains
        return
    terminal = False
    for rule in rules:
        for chain in tcp_chains(scope, rule, place, prefixes):
            yield chain
            terminal = terminal or chain.prefixes == prefixes
    if not terminal:
        yield _default(service, port, prefixes=prefixes)


def _default(service: Service, port: Port, *, server_names: tuple[str, ...] = (), prefixes: tuple[str, ...] = ()) -> TcpChain:
    cluster = outbound_cluster(service.hostname, port.number)
    return TcpChain(((cluster, 1),), cluster, server_names, prefixes, service.source)


def tls_chains(scope: Scope, rule: RoutingRule, place: Place, prefixes: tuple[str, ...]) -> Iterator[TcpChain]:
    """`tls` routes: by server name, and by subnet if the match names one."""
    for route in rule.spec.tls:
        destination = _weighted(scope, rule, route.route, place)
        if destination is None:
            continue
        for match in route.match:
            names = sni_names(match.sniHosts)
            if names is not None and _admits(rule, match, place):
                yield TcpChain(*destination, names, mask(match.destinationSubnets) or prefixes, rule.key)


def tcp_chains(scope: Scope, rule: RoutingRule, place: Place, prefixes: tuple[str, ...]) -> Iterator[TcpChain]:
    """`tcp` routes: the first without subnets takes the rest and ends the list."""
    for route in rule.spec.tcp:
        destination = _weighted(scope, rule, route.route, place)
        if destination is None:
            continue
        admitted = [match for match in route.match if _admits(rule, match, place)]
        if not route.match or any(not match.destinationSubnets for match in admitted):
            yield TcpChain(*destination, (), prefixes, rule.key)
            return
        subnets = mask(subnet for match in admitted for subnet in match.destinationSubnets)
        if subnets:
            yield TcpChain(*destination, (), subnets, rule.key)


def _admits(rule: RoutingRule, match: L4MatchAttributes | TLSMatchAttributes, place: Place) -> bool:
    """Unlike HTTP's matches, all three conditions hold together."""
    if match.gateways and place.gateways.isdisjoint(rule.applies_to_gateways(match.gateways)):
        return False
    return place.admits(rule, port=match.port, gateways=(), source_labels=match.sourceLabels)


def _weighted(
    scope: Scope, rule: RoutingRule, choices: tuple[RouteDestination, ...], place: Place
) -> tuple[tuple[tuple[str, int], ...], str] | None:
    """Clusters with weights, and Istio's stat prefix: the cluster's name, or the rule's when there are several."""
    usable = choices if len(choices) == 1 else tuple(choice for choice in choices if choice.weight > 0)
    if not usable:
        return None
    clusters = tuple((resolve(scope, rule, choice.destination, place).cluster, bounded_weight(choice.weight)) for choice in usable)
    return clusters, clusters[0][0] if len(clusters) == 1 else f"{rule.key.name}.{rule.key.namespace}"


def sni_names(names: Iterable[str]) -> tuple[str, ...] | None:
    """Sorted server names that Envoy accepts: plain ones and `*.domain`. `*` means no condition at all; None that no name is usable."""
    unique = {name.lower() for name in names}
    if "*" in unique:
        return ()
    return tuple(sorted(filter(_SERVER_NAME.match, unique))) or None


def mask(subnets: Iterable[str]) -> tuple[str, ...]:
    """Sorted networks in canonical form, so that equal ones look equal; what is none is skipped, and so is the whole address space."""
    networks = set()
    for text in subnets:
        try:
            network = ipaddress.ip_network(text, strict=False)
        except ValueError:
            continue
        if network.prefixlen:
            networks.add(str(network))
    return tuple(sorted(networks))


def distinct(chains: Iterable[TcpChain]) -> tuple[TcpChain, ...]:
    """Chains as Envoy accepts them in one listener: of two that want the same connections the first has them.

    A server name wanted twice under the same prefixes is taken from the later chain, which goes if nothing is left of it.
    """
    taken: set[tuple[str, str]] = set()
    kept: list[TcpChain] = []
    for chain in chains:
        prefixes = chain.prefixes or ("",)
        if chain.server_names:
            names = tuple(name for name in chain.server_names if taken.isdisjoint((name, prefix) for prefix in prefixes))
            if names:
                kept.append(replace(chain, server_names=names))
            taken.update((name, prefix) for name in names for prefix in prefixes)
        else:
            free = tuple(prefix for prefix in prefixes if ("", prefix) not in taken)
            if free:
                kept.append(replace(chain, prefixes=chain.prefixes and free))
            taken.update(("", prefix) for prefix in free)
    return tuple(kept)
