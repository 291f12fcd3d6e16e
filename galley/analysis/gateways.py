# SPDX-License-Identifier: Apache-2.0
"""Gateways against the workloads that they select, and against each other."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from itertools import combinations
from typing import Final

from common.config.kinds.gateway import Gateway, Server
from common.config.problem import Path
from common.config.resource import Resource
from galley.analysis.codes import (
    CONFLICTING_GATEWAYS,
    DUPLICATE_CERTIFICATE,
    GATEWAY_PORT_NOT_ON_WORKLOAD,
    REFERENCED_RESOURCE_NOT_FOUND,
)
from galley.analysis.finding import Finding, finding, labels_text, listed
from galley.analysis.view import View
from galley.validation import hosts
from galley.validation.primitives import each

_INGRESS: Final = {"istio": "ingressgateway"}
_INGRESS_PORTS: Final = frozenset({80, 443, 8080, 8443, 31400, 15443})
"""What the standard ingress gateway serves, assumed while it is not there to be asked: Istio 1.4's ports, and those that need no root."""


def selectors_and_ports(view: View) -> Iterator[Finding]:
    """The selector must choose some workload, and the ports must be ones that a Service of this workload offers."""
    for gateway in view.of(Gateway):
        selector = gateway.spec.selector
        workloads = list(view.workloads(None, selector))
        if not workloads and selector != _INGRESS:
            text = REFERENCED_RESOURCE_NOT_FOUND.says("selector", labels_text(selector))
            yield finding(REFERENCED_RESOURCE_NOT_FOUND, gateway, ("spec", "selector"), text)
            continue
        offered = {
            port.port
            for workload in workloads
            for service in view.services_of(workload)
            for port in service.spec.ports
            if port.protocol == "TCP"
        }
        offered |= {number for workload in workloads for number in workload.spec.ports.values()}
        if not workloads:
            offered = set(_INGRESS_PORTS)
        if not offered:
            continue  # a gateway without a Service is reached by its own ports
        for server, at in each(gateway.spec.servers, ("spec", "servers")):
            if server.port.number not in offered:
                text = GATEWAY_PORT_NOT_ON_WORKLOAD.says(labels_text(selector), server.port.number)
                yield finding(GATEWAY_PORT_NOT_ON_WORKLOAD, gateway, (*at, "port", "number"), f"{text}; exposed: {listed(offered)}")


def conflicts(view: View) -> Iterator[Finding]:
    """Two Gateways on the same proxies may not serve the same host on the same port."""
    for one, other in combinations(view.of(Gateway), 2):
        if one.spec.selector != other.spec.selector:
            continue
        for server, at in each(other.spec.servers, ("spec", "servers")):
            for earlier in one.spec.servers:
                shared = _shared_hosts(one, earlier, other, server)
                if earlier.port.number == server.port.number and shared:
                    text = CONFLICTING_GATEWAYS.says(
                        f"{one.namespace}/{one.name}", labels_text(one.spec.selector), server.port.number, ", ".join(shared)
                    )
                    yield finding(CONFLICTING_GATEWAYS, other, (*at, "hosts"), text)


def certificates(view: View) -> Iterator[Finding]:
    """One certificate on several Gateways of the same proxies: HTTP/2 clients reuse a connection for a host that is served elsewhere."""
    users: dict[tuple[str, str], list[tuple[Resource[Gateway], Path]]] = defaultdict(list)
    for gateway in view.of(Gateway):
        for server, at in each(gateway.spec.servers, ("spec", "servers")):
            certificate = server.tls and (server.tls.credentialName or server.tls.serverCertificate)
            if certificate:
                users[labels_text(gateway.spec.selector), certificate].append((gateway, (*at, "tls")))
    for places in users.values():
        names = {f"{gateway.namespace}/{gateway.name}" for gateway, _ in places}
        if len(names) > 1:
            for gateway, at in places:
                yield finding(DUPLICATE_CERTIFICATE, gateway, at, DUPLICATE_CERTIFICATE.says(listed(names)))


def _shared_hosts(one: Resource[Gateway], earlier: Server, other: Resource[Gateway], server: Server) -> list[str]:
    """Hosts with equal namespace part; the namespace part keeps VirtualServices of different owners apart."""
    taken = [_split(host, one.namespace) for host in earlier.hosts]
    wanted = [(host, _split(host, other.namespace)) for host in server.hosts]
    return [text for text, (where, host) in wanted if any(hosts.matches(host, name) and where in (at, "*") for at, name in taken)]


def _split(text: str, namespace: str) -> tuple[str, str]:
    where, slash, host = text.rpartition("/")
    return (namespace if where == "." else where) if slash else "*", host
