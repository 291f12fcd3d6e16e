# SPDX-License-Identifier: Apache-2.0
"""Workloads, their namespaces, and the Services and policies that select them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Set
from typing import Any, Final

from common.config.kinds.authentication import PeerAuthentication
from common.config.kinds.authorization import AuthorizationPolicy
from common.config.kinds.core import Namespace, ServicePort
from common.config.kinds.envoy_filter import EnvoyFilter
from common.config.kinds.request_authentication import RequestAuthentication
from common.config.kinds.service_entry import WorkloadEntry
from common.config.problem import Path
from common.config.resource import Resource
from common.mesh.names import ROOT_NAMESPACE
from galley.analysis.codes import (
    NAMESPACE_NOT_INJECTED,
    NO_MATCHING_WORKLOADS,
    POD_MISSING_PROXY,
    PROXY_VERSION_MISMATCH,
    SERVICES_DISAGREE_ON_PORT,
    SERVICES_DISAGREE_ON_PROTOCOL,
)
from galley.analysis.finding import Finding, finding, labels_text, listed
from galley.analysis.view import View
from galley.analysis.workload_index import has_sidecar

_INJECTION: Final = "istio-injection"
_INJECT: Final = "sidecar.istio.io/inject"
_PROXY_IMAGE: Final = "sidecar.istio.io/proxyImage"
_PROXY_VERSION: Final = "fourmast.io/proxy-version"
_SYSTEM_PREFIXES: Final = ("kube-", "istio-")


def namespaces(view: View) -> Iterator[Finding]:
    """A namespace should say whether its workloads get proxies. One whose workloads have registered needs to say nothing."""
    for namespace in view.of(Namespace):
        if namespace.name.startswith(_SYSTEM_PREFIXES) or _INJECTION in namespace.metadata.labels:
            continue
        if not any(has_sidecar(workload) for workload in view.workloads(namespace.name, {})):
            yield finding(NAMESPACE_NOT_INJECTED, namespace, ("metadata", "labels"), NAMESPACE_NOT_INJECTED.says())


def without_proxy(view: View) -> Iterable[Finding]:
    """Where a namespace asks for proxies, a workload without one is outside of the mesh by mistake."""
    return view.each(WorkloadEntry, _without_proxy)


def _without_proxy(view: View, workload: Resource[WorkloadEntry]) -> Iterator[Finding]:
    declined = workload.metadata.annotations.get(_INJECT) == "false"
    if workload.namespace in view.once(_asking) and not declined and not has_sidecar(workload):
        text = POD_MISSING_PROXY.says(f"{workload.namespace}/{workload.name}")
        yield finding(POD_MISSING_PROXY, workload, (), text)


def _asking(view: View) -> Set[str]:
    """Namespaces that ask for proxies."""
    return {namespace.name for namespace in view.of(Namespace) if namespace.metadata.labels.get(_INJECTION) == "enabled"}


def proxy_versions(view: View) -> Iterable[Finding]:
    """A proxy should have the version of its control plane. Silent where either is unknown, and where somebody chose the proxy on purpose."""
    return view.each(WorkloadEntry, _proxy_version) if view.control_plane_version else ()


def _proxy_version(view: View, workload: Resource[WorkloadEntry]) -> Iterator[Finding]:
    annotations, ours = workload.metadata.annotations, view.control_plane_version
    theirs = annotations.get(_PROXY_VERSION, "")
    if theirs and theirs != ours and _PROXY_IMAGE not in annotations:
        at = ("metadata", "annotations", _PROXY_VERSION)
        yield finding(PROXY_VERSION_MISMATCH, workload, at, PROXY_VERSION_MISMATCH.says(theirs, ours))


def service_associations(view: View) -> Iterable[Finding]:
    """Several Services may share a workload, as long as they agree on what each of its ports is."""
    return view.each(WorkloadEntry, _service_associations)


def _service_associations(view: View, workload: Resource[WorkloadEntry]) -> Iterator[Finding]:
    services = view.services_of(workload)
    if len(services) < 2:
        return
    about = f"{workload.namespace}/{workload.name}"
    protocols: dict[int, dict[str, str]] = defaultdict(dict)
    ports: dict[str, dict[int, str]] = defaultdict(dict)
    for service in services:
        for port in service.spec.ports:
            protocols[port.port][_protocol(port)] = service.name
            ports[str(port.targetPort or port.port)][port.port] = service.name
    first = services[0]
    for number, by_protocol in sorted(protocols.items()):
        if len(by_protocol) > 1:
            names = listed(f"{name} ({protocol})" for protocol, name in by_protocol.items())
            text = SERVICES_DISAGREE_ON_PROTOCOL.says(about, number, names)
            yield finding(SERVICES_DISAGREE_ON_PROTOCOL, first, ("spec", "ports"), text)
    for target, by_number in sorted(ports.items()):
        if len(set(by_number.values())) > 1:
            text = SERVICES_DISAGREE_ON_PORT.says(about, listed(by_number.values()), target, listed(by_number))
            yield finding(SERVICES_DISAGREE_ON_PORT, first, ("spec", "ports"), text)


def _protocol(port: ServicePort) -> str:
    return (port.appProtocol or port.name.partition("-")[0] or port.protocol).lower()


def policy_selectors(view: View) -> Iterator[Finding]:
    """A selector that chooses nothing makes its policy mean nothing. In the root namespace it chooses among all workloads."""
    if not view.knows_workloads:
        return
    selecting: list[tuple[Resource[Any], dict[str, str], Path]] = []
    policies: list[Resource[Any]] = [*view.of(AuthorizationPolicy), *view.of(PeerAuthentication), *view.of(RequestAuthentication)]
    for policy in policies:
        selector = policy.spec.selector
        selecting.append((policy, selector.matchLabels if selector is not None else {}, ("spec", "selector")))
    for patch in view.of(EnvoyFilter):
        chosen = patch.spec.workloadSelector
        selecting.append((patch, chosen.labels if chosen is not None else {}, ("spec", "workloadSelector")))
    for resource, labels, at in selecting:
        namespace = None if resource.namespace == ROOT_NAMESPACE else resource.namespace
        if labels and not any(view.workloads(namespace, labels)):
            yield finding(NO_MATCHING_WORKLOADS, resource, at, NO_MATCHING_WORKLOADS.says(labels_text(labels)))
