# SPDX-License-Identifier: Apache-2.0
"""What a Gateway must keep to, over its schema."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, get_args

from common.config.kinds.gateway import Gateway, Server, ServerTLSOptions, TLSProtocol
from common.config.problem import Path, Problem, problem
from galley.validation.primitives import HTTP_PROTOCOLS, TLS_PROTOCOLS, dns_label, each, is_ip, labels, protocol, unique, wildcard_domain

TLS_VERSIONS: Final = get_args(TLSProtocol)
"""From oldest to newest, after "whatever Envoy prefers"."""


def gateway(spec: Gateway, at: Path) -> Iterator[Problem]:
    if not spec.servers:
        yield problem((*at, "servers"), "at least one server is needed")
    for server, place in each(spec.servers, (*at, "servers")):
        yield from _server(server, place)
    names = ((server.port.name, (*place, "port", "name")) for server, place in each(spec.servers, (*at, "servers")) if server.port.name)
    yield from unique(names, "port name")
    yield from labels(spec.selector, (*at, "selector"))


def _server(server: Server, at: Path) -> Iterator[Problem]:
    if not server.hosts:
        yield problem((*at, "hosts"), "a server needs at least one host; '*' serves all")
    for host, place in each(server.hosts, (*at, "hosts")):
        yield from namespaced_host(host, place, namespaces=("*", "."))
    yield from _port(server, (*at, "port"))
    name = server.port.protocol.lower()
    if server.tls is None:
        if name in TLS_PROTOCOLS:
            yield problem(at, f"protocol {server.port.protocol} needs a tls block")
        return
    yield from _tls_for(name, server.tls, (*at, "tls"))
    if name in TLS_PROTOCOLS:
        yield from _tls(server.tls, (*at, "tls"))
        yield from _sni(server.hosts, (*at, "hosts"))


def namespaced_host(text: str, at: Path, *, namespaces: Sequence[str], may_be_address: bool = True) -> Iterator[Problem]:
    """`host` or `namespace/host`; `namespaces` lists what may stand for a namespace besides a name."""
    namespace, slash, host = text.rpartition("/")
    if slash and namespace not in namespaces:
        yield from dns_label(namespace, at)
    if host != "*" and "." not in host:
        yield problem(at, f"short name {host!r} is not allowed here; write the full name, such as {host or 'host'}.example.com", found=text)
    elif host != "*" and not (may_be_address and is_ip(host)):
        yield from wildcard_domain(host, at)


def _port(server: Server, at: Path) -> Iterator[Problem]:
    if not 1 <= server.port.number <= 65535:
        yield problem((*at, "number"), f"port {server.port.number} is out of range", expected="1 to 65535", found=str(server.port.number))
    yield from protocol(server.port.protocol, (*at, "protocol"))
    if not server.port.name:
        yield problem(at, "a server's port needs a name")


def _tls_for(protocol_name: str, tls: ServerTLSOptions, at: Path) -> Iterator[Problem]:
    """A plain HTTP port may carry a tls block only to redirect; other plain protocols carry none."""
    if protocol_name in HTTP_PROTOCOLS:
        is_plain = tls.mode in ("PASSTHROUGH", "AUTO_PASSTHROUGH") and not (
            tls.serverCertificate or tls.privateKey or tls.caCertificates or tls.credentialName
        )
        if not is_plain:
            yield problem(at, "a plain HTTP port cannot serve certificates; set protocol: HTTPS, or keep only httpsRedirect")
    elif protocol_name not in TLS_PROTOCOLS:
        yield problem(at, "a tls block needs protocol HTTPS or TLS")
    elif tls.httpsRedirect:
        yield problem((*at, "httpsRedirect"), "httpsRedirect belongs to the plain HTTP server, not to the one with TLS")


def _tls(tls: ServerTLSOptions, at: Path) -> Iterator[Problem]:
    files = ("serverCertificate", "privateKey", "caCertificates")
    yield from _versions(tls, at)
    if tls.subjectAltNames and tls.mode == "SIMPLE":
        yield problem((*at, "subjectAltNames"), "subjectAltNames are those of clients, whom mode SIMPLE does not ask; use MUTUAL")
    if tls.mode == "ISTIO_MUTUAL":
        for field in files:
            if getattr(tls, field):
                yield problem((*at, field), f"mode ISTIO_MUTUAL takes its certificates from Citadel; remove {field}")
    elif tls.mode in ("SIMPLE", "MUTUAL") and not tls.credentialName:
        for field in files if tls.mode == "MUTUAL" else files[:2]:
            if not getattr(tls, field):
                yield problem((*at, field), f"mode {tls.mode} needs {field}, or a credentialName")


def _versions(tls: ServerTLSOptions, at: Path) -> Iterator[Problem]:
    order = TLS_VERSIONS.index
    if "TLS_AUTO" not in (tls.minProtocolVersion, tls.maxProtocolVersion) and order(tls.minProtocolVersion) > order(tls.maxProtocolVersion):
        text = f"no version is between minProtocolVersion {tls.minProtocolVersion} and maxProtocolVersion {tls.maxProtocolVersion}"
        yield problem((*at, "minProtocolVersion"), text, found=tls.minProtocolVersion)


def _sni(hosts: Sequence[str], at: Path) -> Iterator[Problem]:
    for text, place in each(hosts, at):
        host = text.rpartition("/")[2]
        if host.startswith("*") and host != "*" and not host.startswith("*."):
            yield problem(place, f"Envoy matches SNI by whole labels; write '*.{host.partition('.')[2]}' or a full name", found=text)
