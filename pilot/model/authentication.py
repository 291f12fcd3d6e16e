# SPDX-License-Identifier: Apache-2.0
"""The mutual-TLS mode of a workload's port.

Two APIs meet here: PeerAuthentication, which selects workloads, and Istio 1.4's Policy and MeshPolicy, which name services. At each of the
three levels (workload or service, namespace, mesh) PeerAuthentication is asked first. Without any policy the mode is PERMISSIVE, as from
Istio 1.5 on; Istio 1.4 had it off.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum

from common.config.kinds.authentication import PeerAuthentication, PeerMutualTls, Policy
from common.config.resource import Resource
from pilot.model import hosts
from pilot.model.labels import selects
from pilot.model.order import oldest_first


class MutualTls(StrEnum):
    """What the inbound side of a port accepts."""

    DISABLE = "DISABLE"
    PERMISSIVE = "PERMISSIVE"
    STRICT = "STRICT"


def _own_mode(mtls: PeerMutualTls | None) -> MutualTls | None:
    return None if mtls is None or mtls.mode == "UNSET" else MutualTls(mtls.mode)


def _policy_mode(policy: Policy) -> MutualTls:
    """A 1.4 policy always decides: without an mTLS peer method it means plaintext."""
    for peer in policy.peers:
        if peer.mtls is not None:
            return MutualTls.PERMISSIVE if policy.peerIsOptional else MutualTls(peer.mtls.mode)
    return MutualTls.DISABLE


class PeerPolicies:
    """Every policy that says something about mutual TLS."""

    def __init__(
        self,
        *,
        peer_authentications: Iterable[Resource[PeerAuthentication]] = (),
        policies: Iterable[Resource[Policy]] = (),
        mesh_policies: Iterable[Resource[Policy]] = (),
        root: str,
    ):
        self._root = root
        self._selected: dict[str, list[PeerAuthentication]] = {}
        self._whole: dict[str, PeerAuthentication] = {}
        for resource in oldest_first(peer_authentications):
            selector = resource.spec.selector
            if selector is not None and selector.matchLabels:
                self._selected.setdefault(resource.namespace, []).append(resource.spec)
            else:
                self._whole.setdefault(resource.namespace, resource.spec)
        self._targeted: dict[str, list[tuple[Policy, Mapping[str, tuple[int | str, ...]]]]] = {}
        self._namespace: dict[str, Policy] = {}
        for policy in oldest_first(policies):
            if policy.spec.targets:
                targets = {
                    hosts.qualify(target.name, policy.namespace): tuple(
                        port.number if port.number is not None else (port.name or "") for port in target.ports
                    )
                    for target in policy.spec.targets
                }
                self._targeted.setdefault(policy.namespace, []).append((policy.spec, targets))
            else:
                self._namespace.setdefault(policy.namespace, policy.spec)
        self._mesh = next((policy.spec for policy in oldest_first(mesh_policies) if policy.name == "default"), None)

    def mode(
        self, namespace: str, labels: Mapping[str, str], workload_port: int, *, hostname: str = "", service_port: tuple[int, str] = (0, "")
    ) -> MutualTls:
        """The mode of one port of a workload; `hostname` and `service_port` (number, name) are what 1.4's policies target."""
        return (
            self._workload_mode(namespace, labels, workload_port)
            or self._service_mode(namespace, hostname, service_port)
            or self._level_mode(namespace, self._namespace.get(namespace))
            or self._level_mode(self._root, self._mesh)
            or MutualTls.PERMISSIVE
        )

    def default_mode(self, namespace: str) -> MutualTls:
        """The mode of ports that belong to no service."""
        return self.mode(namespace, {}, 0)

    def _workload_mode(self, namespace: str, labels: Mapping[str, str], port: int) -> MutualTls | None:
        for spec in self._selected.get(namespace, ()):
            if spec.selector is not None and selects(spec.selector.matchLabels, labels):
                return _own_mode(spec.portLevelMtls.get(str(port))) or _own_mode(spec.mtls)
        return None

    def _service_mode(self, namespace: str, hostname: str, port: tuple[int, str]) -> MutualTls | None:
        whole: Policy | None = None
        for policy, targets in self._targeted.get(namespace, ()):
            ports = targets.get(hostname)
            if ports is None:
                continue
            if any(named in port for named in ports):
                return _policy_mode(policy)
            if not ports and whole is None:
                whole = policy
        return None if whole is None else _policy_mode(whole)

    def _level_mode(self, namespace: str, policy: Policy | None) -> MutualTls | None:
        whole = self._whole.get(namespace)
        own = None if whole is None else _own_mode(whole.mtls)
        return own or (None if policy is None else _policy_mode(policy))
