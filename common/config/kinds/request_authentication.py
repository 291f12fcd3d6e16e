# SPDX-License-Identifier: Apache-2.0
"""RequestAuthentication: which tokens a workload understands. A token may be absent; requiring one is for an AuthorizationPolicy."""

from __future__ import annotations

from common.config.kinds.authentication import LabelSelector
from common.config.kinds.message import Duration, Message
from common.config.registry import Kind, registry


class JWTHeader(Message, frozen=True, kw_only=True):
    """`prefix` is what stands before the token, with its blank: `Bearer `."""

    name: str = ""
    prefix: str = ""


class ClaimToHeader(Message, frozen=True, kw_only=True):
    header: str = ""
    claim: str = ""


class JWTRule(Message, frozen=True, kw_only=True):
    """Without any `from...` field the token is looked for in `Authorization: Bearer` and in the parameter `access_token`."""

    issuer: str = ""
    audiences: tuple[str, ...] = ()
    jwksUri: str = ""
    jwks: str = ""
    fromHeaders: tuple[JWTHeader, ...] = ()
    fromParams: tuple[str, ...] = ()
    fromCookies: tuple[str, ...] = ()
    outputPayloadToHeader: str = ""
    outputClaimToHeaders: tuple[ClaimToHeader, ...] = ()
    forwardOriginalToken: bool = False
    timeout: Duration | None = None


class RequestAuthentication(Message, frozen=True, kw_only=True):
    selector: LabelSelector | None = None
    jwtRules: tuple[JWTRule, ...] = ()


REQUEST_AUTHENTICATION = registry.add(
    Kind(
        group="security.istio.io",
        version="v1beta1",
        name="RequestAuthentication",
        plural="requestauthentications",
        collection="istio/security/v1beta1/requestauthentications",
        spec=RequestAuthentication,
        short_names=("ra",),
    )
)
