# SPDX-License-Identifier: Apache-2.0
"""Whether clients do what servers take: TLS of DestinationRules against authentication policies and sidecars."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from common.config.kinds.authentication import PeerAuthentication, Policy
from common.config.kinds.core import Service
from common.config.kinds.destination_rule import DestinationRule
from common.config.problem import Path
from common.config.resource import Resource
from common.mesh.names import ROOT_NAMESPACE
from galley.analysis.codes import MTLS_POLICY_CONFLICT, MTLS_WITHOUT_SIDECAR
from galley.analysis.destination_rules import service_of
from galley.analysis.finding import Finding, finding
from galley.analysis.view import View
from galley.analysis.workload_index import has_sidecar

Decision = tuple[str, Resource[Any]]
"""STRICT, PERMISSIVE or DISABLE, and the policy that says so."""


def conflicts(view: View) -> Iterable[Finding]:
    """What clients do must be what the server's policy takes: ISTIO_MUTUAL where it is STRICT, plaintext where there is no mTLS."""
    return view.each(DestinationRule, _conflicts)


def _conflicts(view: View, rule: Resource[DestinationRule]) -> Iterator[Finding]:
    traffic = rule.spec.trafficPolicy
    known = view.host(rule.spec.host, rule.namespace)
    service = service_of(known)
    if traffic is None or traffic.tls is None or known is None or service is None or service.spec.type == "ExternalName":
        return
    at: Path = ("spec", "trafficPolicy", "tls")
    if traffic.tls.mode == "ISTIO_MUTUAL":
        for workload in view.workloads(service.namespace, service.spec.selector) if service.spec.selector else ():
            if not has_sidecar(workload):
                text = MTLS_WITHOUT_SIDECAR.says(f"{rule.namespace}/{rule.name}", f"{workload.namespace}/{workload.name}")
                yield finding(MTLS_WITHOUT_SIDECAR, rule, at, text)
                break
    decided = _server_mode(view, service)
    if decided is not None and _is_conflict(traffic.tls.mode, decided[0]):
        mode, policy = decided
        text = MTLS_POLICY_CONFLICT.says(known.host, f"{rule.namespace}/{rule.name}", traffic.tls.mode, policy.key.mcp_name, mode)
        yield finding(MTLS_POLICY_CONFLICT, rule, at, text)


def _is_conflict(client: str, server: str) -> bool:
    return (server == "STRICT" and client in ("DISABLE", "SIMPLE")) or (server == "DISABLE" and client == "ISTIO_MUTUAL")


def _server_mode(view: View, service: Resource[Service]) -> Decision | None:
    """What the service takes on all its ports, in Pilot's order: workload or service, namespace, mesh, and at each PeerAuthentication first.

    None when nobody decides, or when it depends on the port.
    """
    peers = view.of(PeerAuthentication)
    policies = [policy for policy in view.of(Policy) if not policy.kind.cluster_scoped and policy.namespace == service.namespace]
    mesh = [policy for policy in view.of(Policy) if policy.kind.cluster_scoped and policy.name == "default"]
    for peer in peers:
        labels = peer.spec.selector.matchLabels if peer.spec.selector is not None else {}
        if labels and peer.namespace == service.namespace and labels.items() <= service.spec.selector.items():
            return None if peer.spec.portLevelMtls else _of_peer(peer)
    for policy in policies:
        for target in policy.spec.targets:
            if target.name == service.name:
                return None if target.ports else _of_policy(policy)
    return (
        next(filter(None, (_of_peer(peer) for peer in peers if peer.namespace == service.namespace and _is_wide(peer))), None)
        or next((_of_policy(policy) for policy in policies if not policy.spec.targets), None)
        or next(filter(None, (_of_peer(peer) for peer in peers if peer.namespace == ROOT_NAMESPACE and _is_wide(peer))), None)
        or next((_of_policy(policy) for policy in mesh), None)
    )


def _is_wide(peer: Resource[PeerAuthentication]) -> bool:
    return peer.spec.selector is None or not peer.spec.selector.matchLabels


def _of_peer(peer: Resource[PeerAuthentication]) -> Decision | None:
    mode = peer.spec.mtls.mode if peer.spec.mtls is not None else "UNSET"
    return None if mode == "UNSET" else (mode, peer)


def _of_policy(policy: Resource[Policy]) -> Decision:
    """A policy of 1.4 always decides: without an mTLS method it means plaintext."""
    mtls = next((method.mtls for method in policy.spec.peers if method.mtls is not None), None)
    if mtls is None:
        return "DISABLE", policy
    return "PERMISSIVE" if policy.spec.peerIsOptional else mtls.mode, policy
