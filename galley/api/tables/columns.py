# SPDX-License-Identifier: Apache-2.0
"""Which columns a kind has between its name and its age. Istio 1.4's printer columns first; the rest is what one looks for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NamedTuple


class Column(NamedTuple):
    """`read` takes the spec. Wide columns are shown with `-o wide` only."""

    name: str
    read: Callable[[Any], str]
    wide: bool = False
    description: str = ""


NONE: Final = "<none>"
MOST: Final = 3
"""Entries of a list that a cell shows."""


def listed(values: Iterable[object], most: int = MOST) -> str:
    """`a,b,c + 2 more...`, as kubectl writes endpoints."""
    texts = [text for value in values if (text := str(value))]
    more = f" + {len(texts) - most} more..." if len(texts) > most else ""
    return ",".join(texts[:most]) + more or NONE


def _text(value: object) -> str:
    return str(value) if value else NONE


def _selector(labels: Mapping[str, str]) -> str:
    return listed((f"{key}={value}" for key, value in labels.items()), most=8)


def _selector_of(holder: Any, field: str = "labels") -> str:
    return _selector(getattr(holder, field) if holder is not None else {})


def _address(subset: Any) -> Iterable[str]:
    ports = subset.ports or (None,)
    return (f"{address.ip}:{port.port}" if port else str(address.ip) for address in subset.addresses for port in ports)


def _routes(spec: Any) -> str:
    found = ((name, len(getattr(spec, name, ()) or ())) for name in ("http", "tls", "tcp"))
    return listed(f"{count} {name}" for name, count in found if count)


def _servers(spec: Any) -> str:
    return listed(f"{server.port.number}/{server.port.protocol}" for server in spec.servers)


_HOSTS: Final = Column("Hosts", lambda s: listed(s.hosts))

COLUMNS: Final[Mapping[tuple[str, str], tuple[Column, ...]]] = {
    ("networking.istio.io", "VirtualService"): (
        Column("Gateways", lambda s: listed(s.gateways or ("mesh",)), description="Gateways and sidecars (mesh) that apply these routes."),
        _HOSTS,
        Column("Routes", _routes, wide=True),
    ),
    ("networking.istio.io", "DestinationRule"): (
        Column("Host", lambda s: _text(s.host)),
        Column("Subsets", lambda s: listed((subset.name for subset in s.subsets), most=6), wide=True),
    ),
    ("networking.istio.io", "Gateway"): (
        Column("Servers", _servers),
        Column("Hosts", lambda s: listed(dict.fromkeys(host for server in s.servers for host in server.hosts))),
        Column("Selector", lambda s: _selector(s.selector), wide=True),
    ),
    ("networking.istio.io", "ServiceEntry"): (
        _HOSTS,
        Column("Location", lambda s: _text(s.location)),
        Column("Resolution", lambda s: _text(s.resolution)),
        Column("Addresses", lambda s: listed(s.addresses), wide=True),
    ),
    ("networking.istio.io", "WorkloadEntry"): (
        Column("Address", lambda s: _text(s.address)),
        Column("Ports", lambda s: listed(f"{name}:{port}" for name, port in s.ports.items()), wide=True),
        Column("Labels", lambda s: _selector(s.labels), wide=True),
        Column("Service-Account", lambda s: _text(s.serviceAccount), wide=True),
    ),
    ("networking.istio.io", "Sidecar"): (
        Column("Egress", lambda s: listed(host for listener in s.egress for host in listener.hosts)),
        Column("Selector", lambda s: _selector_of(s.workloadSelector), wide=True),
    ),
    ("networking.istio.io", "EnvoyFilter"): (Column("Selector", lambda s: _selector_of(s.workloadSelector)),),
    ("authentication.istio.io", "Policy"): (Column("Targets", lambda s: listed(target.name for target in s.targets)),),
    ("security.istio.io", "PeerAuthentication"): (
        Column("Mode", lambda s: s.mtls.mode if s.mtls is not None else "UNSET"),
        Column("Selector", lambda s: _selector_of(s.selector, "matchLabels"), wide=True),
    ),
    ("security.istio.io", "AuthorizationPolicy"): (
        Column("Action", lambda s: _text(getattr(s, "action", ""))),
        Column("Selector", lambda s: _selector_of(s.selector, "matchLabels"), wide=True),
    ),
    ("security.istio.io", "RequestAuthentication"): (Column("Issuers", lambda s: listed(rule.issuer for rule in s.jwtRules)),),
    ("config.istio.io", "rule"): (
        Column("Match", lambda s: s.match or "true"),
        Column("Handlers", lambda s: listed(action.handler for action in s.actions), wide=True),
    ),
    ("config.istio.io", "handler"): (Column("Adapter", lambda s: _text(s.compiledAdapter or s.adapter)),),
    ("config.istio.io", "instance"): (Column("Template", lambda s: _text(s.compiledTemplate or s.template)),),
    ("config.istio.io", "adapter"): (Column("Templates", lambda s: listed(s.templates)),),
    ("config.istio.io", "template"): (Column("Variety", lambda s: _text(s.variety)),),
    ("config.istio.io", "QuotaSpecBinding"): (
        Column("Services", lambda s: listed(service.name or service.service for service in s.services)),
        Column("Quota-Specs", lambda s: listed(spec.name for spec in s.quotaSpecs)),
    ),
    ("", "Service"): (
        Column("Type", lambda s: str(s.type)),
        Column("Cluster-IP", lambda s: _text(s.clusterIP)),
        Column("External-IP", lambda s: listed(s.externalIPs) if s.type != "ExternalName" else _text(s.externalName)),
        Column("Port(s)", lambda s: listed((f"{port.port}/{port.protocol}" for port in s.ports), most=16)),
        Column("Selector", lambda s: _selector(s.selector), wide=True),
    ),
    ("", "Endpoints"): (Column("Endpoints", lambda s: listed(address for subset in s.subsets for address in _address(subset))),),
    ("", "Namespace"): (Column("Status", lambda s: "Active"),),
}
