# SPDX-License-Identifier: Apache-2.0
"""DestinationRules against the services and workloads that they speak of."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from common.config.kinds.core import Service
from common.config.kinds.destination_rule import DestinationRule, TLSSettings, TrafficPolicy
from common.config.problem import Path
from common.config.resource import Resource
from common.mesh.names import SERVICE_DOMAIN
from galley.analysis.codes import (
    NO_SERVER_VERIFICATION,
    NO_SERVER_VERIFICATION_AT_PORT,
    SUBSET_WITHOUT_WORKLOADS,
    UNKNOWN_DESTINATION_RULE_HOST,
)
from galley.analysis.finding import Finding, finding
from galley.analysis.suggestion import UnknownHost
from galley.analysis.view import KnownHost, View
from galley.validation import hosts
from galley.validation.primitives import each

_ALL_SERVICES = frozenset({"*", "*.local", f"*.{SERVICE_DOMAIN}"})


def known_hosts(view: View) -> Iterable[UnknownHost]:
    """A rule for a host that no service has does nothing, and is often a misspelt name."""
    return view.each(DestinationRule, _known_host)


def _known_host(view: View, rule: Resource[DestinationRule]) -> Iterator[UnknownHost]:
    full = hosts.fully_qualified(rule.spec.host, rule.namespace)
    if full.startswith("*"):
        known = full in _ALL_SERVICES or any(hosts.matches(full, each_host.host) for each_host in view.hosts)
    else:
        known = view.host(rule.spec.host, rule.namespace) is not None
    if not known:
        text = UNKNOWN_DESTINATION_RULE_HOST.says(rule.spec.host).removesuffix(".")
        about = finding(UNKNOWN_DESTINATION_RULE_HOST, rule, ("spec", "host"), text)
        yield UnknownHost(about, rule.spec.host, rule.namespace)


def subsets(view: View) -> Iterable[Finding]:
    """A subset that chooses no workload answers every request with 503."""
    if not view.knows_workloads:
        return ()
    return view.each(DestinationRule, _subsets)


def _subsets(view: View, rule: Resource[DestinationRule]) -> Iterator[Finding]:
    service = service_of(view.host(rule.spec.host, rule.namespace))
    if service is None or not service.spec.selector:
        return
    for subset, at in each(rule.spec.subsets, ("spec", "subsets")):
        if subset.labels and not any(view.workloads(service.namespace, {**service.spec.selector, **subset.labels})):
            yield finding(SUBSET_WITHOUT_WORKLOADS, rule, at, SUBSET_WITHOUT_WORKLOADS.says(subset.name))


def server_verification(view: View) -> Iterable[Finding]:
    """TLS without caCertificates talks to whoever answers."""
    return view.each(DestinationRule, _server_verification)


def _server_verification(view: View, rule: Resource[DestinationRule]) -> Iterator[Finding]:
    for tls, port, at in _tls_settings(rule.spec):
        if tls.mode not in ("SIMPLE", "MUTUAL") or tls.caCertificates:
            continue
        about = (rule.name, rule.namespace, tls.mode, rule.spec.host)
        if port:
            yield finding(NO_SERVER_VERIFICATION_AT_PORT, rule, at, NO_SERVER_VERIFICATION_AT_PORT.says(*about, port))
        else:
            yield finding(NO_SERVER_VERIFICATION, rule, at, NO_SERVER_VERIFICATION.says(*about))


def service_of(known: KnownHost | None) -> Resource[Service] | None:
    return known.resource if known is not None and isinstance(known.resource.spec, Service) else None


def _tls_settings(spec: DestinationRule) -> Iterator[tuple[TLSSettings, int, Path]]:
    """Every TLS block with its port (0: all) and place."""
    policies: list[tuple[TrafficPolicy | None, Path]] = [(spec.trafficPolicy, ("spec", "trafficPolicy"))]
    policies += [(subset.trafficPolicy, (*at, "trafficPolicy")) for subset, at in each(spec.subsets, ("spec", "subsets"))]
    for policy, at in policies:
        if policy is None:
            continue
        if policy.tls is not None:
            yield policy.tls, 0, (*at, "tls")
        for port, place in each(policy.portLevelSettings, (*at, "portLevelSettings")):
            if port.tls is not None:
                yield port.tls, port.port.number, (*place, "tls")
