# SPDX-License-Identifier: Apache-2.0
"""What is accepted and stored although nothing acts on it in this version: said aloud, because a policy that only seems to hold is a trap.

Who makes Pilot or Mixer act on a kind takes it out of the table; a test compares the table with what the two subscribe to.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from common.config.kinds.api_spec import HTTP_API_SPEC, HTTP_API_SPEC_BINDING
from common.config.kinds.authentication import MESH_POLICY, POLICY, Policy
from common.config.kinds.authorization import AUTHORIZATION_POLICY
from common.config.kinds.legacy_mixer import LEGACY_ADAPTERS, LEGACY_TEMPLATES
from common.config.kinds.networking import ENVOY_FILTER, GATEWAY, SIDECAR, Gateway, Sidecar
from common.config.kinds.rbac import CLUSTER_RBAC_CONFIG, RBAC_CONFIG, SERVICE_ROLE, SERVICE_ROLE_BINDING
from common.config.kinds.request_authentication import REQUEST_AUTHENTICATION
from common.config.mixer_builtin.legacy import LEGACY_HANDLERS, LEGACY_INSTANCES
from common.config.problem import Path
from common.config.registry import Kind
from common.config.resource import Resource
from galley.validation.primitives import each

_AUTHORIZATION: Final = "nobody is let in or kept out by it"


class Gap(NamedTuple):
    """Something written that nothing acts on. `is_error` is False where Istio 1.4 did not act on it either."""

    path: Path
    message: str
    is_error: bool = True


def _of(kinds: Iterable[Kind], consequence: str) -> dict[str, str]:
    return dict.fromkeys((kind.collection for kind in kinds), consequence)


NOT_ENFORCED: Final[Mapping[str, str]] = MappingProxyType(
    _of((AUTHORIZATION_POLICY, SERVICE_ROLE, SERVICE_ROLE_BINDING, RBAC_CONFIG, CLUSTER_RBAC_CONFIG), _AUTHORIZATION)
    | _of((REQUEST_AUTHENTICATION,), "tokens are not checked")
    | _of((ENVOY_FILTER,), "Envoy's configuration is not patched")
    | _of((kind for kind in LEGACY_ADAPTERS.values() if kind not in LEGACY_HANDLERS), "Mixer has no such adapter")
    | _of((kind for kind in LEGACY_TEMPLATES.values() if kind not in LEGACY_INSTANCES), "Mixer has no such template")
)
"""Collection to what that means for the user."""

PARTLY_ENFORCED: Final[Mapping[str, str]] = MappingProxyType(
    _of((POLICY, MESH_POLICY), "tokens (`jwt`) are not checked")
    | _of((GATEWAY,), "gateways do not end TLS, so servers of such a mode are not opened")
    | _of((SIDECAR,), "of it only `egress[].hosts` counts, and only without a `workloadSelector`")
)
"""Collections of which a part is not enforced: `_tokens`, `_ended_tls` and `_beyond_hosts` say it at the field."""

NEVER_READ: Final = frozenset({HTTP_API_SPEC.collection, HTTP_API_SPEC_BINDING.collection})
"""Istio 1.4 accepted these, and no proxy of it read them."""


def gaps(resource: Resource[Any]) -> Iterator[Gap]:
    """What of this resource is not enforced by this version, for people."""
    kind = resource.kind
    consequence = NOT_ENFORCED.get(kind.collection)
    if consequence is not None:
        yield Gap((), f"{kind.name} is stored but not enforced by this version: {consequence}")
    elif kind.collection in NEVER_READ:
        yield Gap((), f"{kind.name} has no effect, as in Istio 1.4", is_error=False)
    elif kind is SIDECAR:
        yield from _beyond_hosts(resource.spec)
    elif kind is GATEWAY:
        yield from _ended_tls(resource.spec)
    elif kind.collection in PARTLY_ENFORCED:
        yield from _tokens(resource.spec)


def _tokens(spec: Policy) -> Iterator[Gap]:
    for field in ("peers", "origins"):
        for method, at in each(getattr(spec, field), ("spec", field)):
            if method.jwt is not None:
                yield Gap((*at, "jwt"), "jwt is stored but not enforced by this version: tokens are not checked")


def _ended_tls(spec: Gateway) -> Iterator[Gap]:
    for server, at in each(spec.servers, ("spec", "servers")):
        if server.tls is not None and (server.tls.mode != "PASSTHROUGH" or server.tls.serverCertificate):
            yield Gap((*at, "tls"), "tls is stored but not enforced by this version: gateways do not end TLS, and do not open this server")


def _beyond_hosts(spec: Sidecar) -> Iterator[Gap]:
    said = "is stored but not enforced by this version"
    if spec.workloadSelector is not None and spec.workloadSelector.labels:
        yield Gap(
            ("spec", "workloadSelector"), f"workloadSelector {said}: the workloads that it selects keep seeing what their namespace sees"
        )
    if spec.ingress:
        yield Gap(("spec", "ingress"), f"ingress {said}: inbound listeners follow from the services")
    if spec.outboundTrafficPolicy is not None:
        yield Gap(("spec", "outboundTrafficPolicy"), f"outboundTrafficPolicy {said}: MeshConfig's holds")
    for listener, at in each(spec.egress, ("spec", "egress")):
        if listener.port is not None:
            yield Gap((*at, "port"), f"port {said}: its hosts are seen on the ports of their services")
