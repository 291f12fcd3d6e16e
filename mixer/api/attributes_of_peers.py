# SPDX-License-Identifier: Apache-2.0
"""Who stands at both ends of a connection, in attributes.

The reporting proxy is known by its certificate, the other end by the certificate that the reporter verified. An address, or what an end
says of itself, may then choose among the workloads of the proven service account; neither can lend an identity. Without a certificate the
address is all there is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, Protocol

from common.identity.spiffe import SpiffeId

Side = Literal["source", "destination"]


class Workload(Protocol):
    """One entry of the workload index, with its attributes made once for both sides."""

    @property
    def namespace(self) -> str: ...
    @property
    def service_account(self) -> str: ...
    @property
    def source(self) -> Mapping[str, Any]: ...
    @property
    def destination(self) -> Mapping[str, Any]: ...


class Workloads(Protocol):
    """The index of workloads that Mixer builds from WorkloadEntries."""

    def at(self, address: bytes) -> Workload | None:
        """The workload at an address of 4 or 16 octets."""

    def of_uid(self, uid: str) -> Workload | None:
        """The workload with this `kubernetes://name.namespace`."""

    def of_account(self, namespace: str, service_account: str) -> Workload | None:
        """The workload that alone runs under a service account; None when there are several or none."""


class Peer(NamedTuple):
    """One end of a connection. `uri` is a verified SPIFFE URI, empty without mutual TLS; `uid` is what the end says of itself."""

    uri: str
    address: bytes | None
    uid: str = ""


class PeerAttributes:
    """Joins identities, addresses and the index. Results are shared mappings: copy them, do not change them."""

    def __init__(self, workloads: Workloads) -> None:
        self._workloads = workloads
        self._identities: dict[str, SpiffeId | None] = {}

    def of(self, side: Side, peer: Peer) -> dict[str, Any]:
        """`source.*` or `destination.*` of a peer: principal, namespace, service account, and what the index knows of its workload."""
        identity = self.identity(peer.uri) if peer.uri else None
        workload = self._workload(identity, peer)
        attributes: dict[str, Any] = {}
        if workload is not None:
            attributes.update(workload.source if side == "source" else workload.destination)
        if identity is not None:
            attributes[f"{side}.principal"] = attributes[f"{side}.user"] = identity.principal
            attributes[f"{side}.namespace"] = identity.namespace
            attributes[f"{side}.serviceAccount"] = identity.service_account
        return attributes

    def identity(self, uri: str) -> SpiffeId | None:
        """A parsed SPIFFE URI, remembered; None when it is not of the mesh's form."""
        try:
            return self._identities[uri]
        except KeyError:
            pass
        try:
            identity = SpiffeId.parse(uri)
        except ValueError:
            identity = None
        if len(self._identities) >= 10_000:
            self._identities.clear()
        self._identities[uri] = identity
        return identity

    def _workload(self, identity: SpiffeId | None, peer: Peer) -> Workload | None:
        workloads = self._workloads
        by_address = workloads.at(peer.address) if peer.address else None
        if identity is None:
            return by_address
        by_uid = workloads.of_uid(peer.uid) if peer.uid else None
        for workload in (by_uid, by_address):
            if workload is not None and (workload.namespace, workload.service_account) == (identity.namespace, identity.service_account):
                return workload
        return workloads.of_account(identity.namespace, identity.service_account)
