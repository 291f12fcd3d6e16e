# SPDX-License-Identifier: Apache-2.0
"""Who must prove what to a service: Istio 1.4's Policy and MeshPolicy, and the later PeerAuthentication."""

from __future__ import annotations

from typing import ClassVar, Literal

from common.config.kinds.message import Message, NamedPortSelector
from common.config.registry import Kind, registry

MutualTlsMode = Literal["STRICT", "PERMISSIVE"]
PeerMutualTlsMode = Literal["UNSET", "DISABLE", "PERMISSIVE", "STRICT"]


class TriggerStringMatch(Message, frozen=True, kw_only=True):
    """Unlike the StringMatch of routes it can look at the end of a path."""

    ONEOFS: ClassVar = (("exact", "prefix", "suffix", "regex"),)

    exact: str | None = None
    prefix: str | None = None
    suffix: str | None = None
    regex: str | None = None


class TriggerRule(Message, frozen=True, kw_only=True):
    """Paths for which a token is looked at. Exclusion wins; an empty rule covers everything."""

    excludedPaths: tuple[TriggerStringMatch, ...] = ()
    includedPaths: tuple[TriggerStringMatch, ...] = ()


class Jwt(Message, frozen=True, kw_only=True):
    issuer: str = ""
    audiences: tuple[str, ...] = ()
    jwksUri: str = ""
    jwks: str = ""
    jwtHeaders: tuple[str, ...] = ()
    jwtParams: tuple[str, ...] = ()
    triggerRules: tuple[TriggerRule, ...] = ()


class MutualTls(Message, frozen=True, kw_only=True):
    """`mtls: {}` is STRICT. `allowTls` is accepted and, as in Istio 1.4, has no effect."""

    mode: MutualTlsMode = "STRICT"
    allowTls: bool = False


class PeerAuthenticationMethod(Message, frozen=True, kw_only=True):
    ONEOFS: ClassVar = (("mtls", "jwt"),)
    NULL_IS_EMPTY: ClassVar = ("mtls",)  # Istio's own samples write `- mtls:`

    mtls: MutualTls | None = None
    jwt: Jwt | None = None


class OriginAuthenticationMethod(Message, frozen=True, kw_only=True):
    jwt: Jwt | None = None


class TargetSelector(Message, frozen=True, kw_only=True):
    """A service of the policy's own namespace, by short name; without `ports`, all of them."""

    name: str
    labels: dict[str, str] = {}
    ports: tuple[NamedPortSelector, ...] = ()


class Policy(Message, frozen=True, kw_only=True):
    """Policy and MeshPolicy share this shape. No `peers` means no mTLS requirement: plaintext only."""

    targets: tuple[TargetSelector, ...] = ()
    peers: tuple[PeerAuthenticationMethod, ...] = ()
    peerIsOptional: bool = False
    origins: tuple[OriginAuthenticationMethod, ...] = ()
    originIsOptional: bool = False
    principalBinding: Literal["USE_PEER", "USE_ORIGIN"] = "USE_PEER"


class LabelSelector(Message, frozen=True, kw_only=True):
    matchLabels: dict[str, str] = {}


class PeerMutualTls(Message, frozen=True, kw_only=True):
    mode: PeerMutualTlsMode = "UNSET"


class PeerAuthentication(Message, frozen=True, kw_only=True):
    """Keys of `portLevelMtls` are port numbers of the workload, written as text because JSON knows no other keys."""

    selector: LabelSelector | None = None
    mtls: PeerMutualTls | None = None
    portLevelMtls: dict[str, PeerMutualTls] = {}


POLICY = registry.add(
    Kind(
        group="authentication.istio.io",
        version="v1alpha1",
        name="Policy",
        plural="policies",
        collection="istio/authentication/v1alpha1/policies",
        spec=Policy,
    )
)
MESH_POLICY = registry.add(
    Kind(
        group="authentication.istio.io",
        version="v1alpha1",
        name="MeshPolicy",
        plural="meshpolicies",
        collection="istio/authentication/v1alpha1/meshpolicies",
        spec=Policy,
        cluster_scoped=True,
    )
)
PEER_AUTHENTICATION = registry.add(
    Kind(
        group="security.istio.io",
        version="v1beta1",
        name="PeerAuthentication",
        plural="peerauthentications",
        collection="istio/security/v1beta1/peerauthentications",
        spec=PeerAuthentication,
        short_names=("pa",),
    )
)
