# SPDX-License-Identifier: Apache-2.0
"""DestinationRules against the services, workloads and authentication policies that they speak of."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from common.config.kinds.authentication import MutualTls, Policy
from common.config.kinds.core import Service
from common.config.kinds.destination_rule import DestinationRule, TLSSettings, TrafficPolicy
from common.config.problem import Path
from common.config.resource import Resource
from common.mesh.names import SERVICE_DOMAIN
from galley.analysis.codes import (
    MTLS_POLICY_CONFLICT,
    MTLS_WITHOUT_SIDECAR,
    NO_SERVER_VERIFICATION,
    NO_SERVER_VERIFICATION_AT_PORT,
    SUBSET_WITHOUT_WORKLOADS,
    UNKNOWN_DESTINATION_RULE_HOST,
)
from galley.analysis.finding import Finding, finding
from galley.analysis.view import KnownHost, View, has_sidecar
from galley.validation import hosts
from galley.validation.primitives import each

_ALL_SERVICES = frozenset({"*", "*.local", f"*.{SERVICE_DOMAIN}"})


def known_hosts(view: View) -> Iterator[Finding]:
    """A rule for a host that no service has does nothing, and is often a misspelt name."""
    for rule in view.of(DestinationRule):
        full = hosts.fully_qualified(rule.spec.host, rule.namespace)
        if full.startswith("*"):
            known = full in _ALL_SERVICES or any(hosts.matches(full, each_host.host) for each_host in view.hosts)
        else:
            known = view.host(rule.spec.host, rule.namespace) is not None
        if not known:
            text = UNKNOWN_DESTINATION_RULE_HOST.says(rule.spec.host).removesuffix(".") + view.near_host(rule.spec.host, rule.namespace)
            yield finding(UNKNOWN_DESTINATION_RULE_HOST, rule, ("spec", "host"), text)


def subsets(view: View) -> Iterator[Finding]:
    """A subset that chooses no workload answers every request with 503."""
    if not view.knows_workloads:
        return
    for rule in view.of(DestinationRule):
        service = _service(view.host(rule.spec.host, rule.namespace))
        if service is None or not service.spec.selector:
            continue
        for subset, at in each(rule.spec.subsets, ("spec", "subsets")):
            if subset.labels and not view.workloads(service.namespace, {**service.spec.selector, **subset.labels}):
                yield finding(SUBSET_WITHOUT_WORKLOADS, rule, at, SUBSET_WITHOUT_WORKLOADS.says(subset.name))


def server_verification(view: View) -> Iterator[Finding]:
    """TLS without caCertificates talks to whoever answers."""
    for rule in view.of(DestinationRule):
        for tls, port, at in _tls_settings(rule.spec):
            if tls.mode not in ("SIMPLE", "MUTUAL") or tls.caCertificates:
                continue
            about = (rule.name, rule.namespace, tls.mode, rule.spec.host)
            if port:
                yield finding(NO_SERVER_VERIFICATION_AT_PORT, rule, at, NO_SERVER_VERIFICATION_AT_PORT.says(*about, port))
            else:
                yield finding(NO_SERVER_VERIFICATION, rule, at, NO_SERVER_VERIFICATION.says(*about))


def mutual_tls(view: View) -> Iterator[Finding]:
    """What clients do must be what the server's policy takes: ISTIO_MUTUAL where it is STRICT, plaintext where there is no mTLS."""
    for rule in view.of(DestinationRule):
        traffic = rule.spec.trafficPolicy
        known = view.host(rule.spec.host, rule.namespace)
        service = _service(known)
        if traffic is None or traffic.tls is None or known is None or service is None or service.spec.type == "ExternalName":
            continue
        at: Path = ("spec", "trafficPolicy", "tls")
        if traffic.tls.mode == "ISTIO_MUTUAL":
            for workload in view.workloads(service.namespace, service.spec.selector) if service.spec.selector else ():
                if not has_sidecar(workload):
                    text = MTLS_WITHOUT_SIDECAR.says(f"{rule.namespace}/{rule.name}", f"{workload.namespace}/{workload.name}")
                    yield finding(MTLS_WITHOUT_SIDECAR, rule, at, text)
                    break
        mode, policy = _server_mode(view, service)
        wrong = {"STRICT": traffic.tls.mode in ("DISABLE", "SIMPLE"), "DISABLE": traffic.tls.mode == "ISTIO_MUTUAL"}.get(mode, False)
        if wrong and policy is not None:
            text = MTLS_POLICY_CONFLICT.says(known.host, f"{rule.namespace}/{rule.name}", traffic.tls.mode, policy.key.mcp_name, mode)
            yield finding(MTLS_POLICY_CONFLICT, rule, at, text)


def _service(known: KnownHost | None) -> Resource[Service] | None:
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


def _server_mode(view: View, service: Resource[Service]) -> tuple[str, Resource[Any] | None]:
    """What the service takes by its narrowest Policy for all its ports: STRICT, PERMISSIVE, DISABLE, and that policy. No policy: unknown."""
    policies = view.of(Policy)
    own = [policy for policy in policies if policy.namespace == service.namespace and not policy.kind.cluster_scoped]
    candidates = [
        *(policy for policy in own if any(target.name == service.name for target in policy.spec.targets)),
        *(policy for policy in own if not policy.spec.targets),
        *(policy for policy in policies if policy.kind.cluster_scoped),
    ]
    for policy in candidates:
        if any(target.name == service.name and target.ports for target in policy.spec.targets):
            return "", None  # it depends on the port
        mtls = next((method.mtls for method in policy.spec.peers if method.mtls is not None), None)
        return _mode(mtls), policy
    return "", None


def _mode(mtls: MutualTls | None) -> str:
    return "DISABLE" if mtls is None else mtls.mode
