# SPDX-License-Identifier: Apache-2.0
"""AuthorizationPolicy: who may do what at a workload. Istio 1.4 had only what an absent `action` still means: ALLOW."""

from __future__ import annotations

from typing import Literal

from common.config.kinds.authentication import LabelSelector
from common.config.kinds.message import Message
from common.config.registry import Kind, registry


class Source(Message, frozen=True, kw_only=True):
    """All fields that are set hold together; the values of one are alternatives. `*` may begin or end a value, or be all of it."""

    principals: tuple[str, ...] = ()
    notPrincipals: tuple[str, ...] = ()
    requestPrincipals: tuple[str, ...] = ()
    notRequestPrincipals: tuple[str, ...] = ()
    namespaces: tuple[str, ...] = ()
    notNamespaces: tuple[str, ...] = ()
    ipBlocks: tuple[str, ...] = ()
    notIpBlocks: tuple[str, ...] = ()
    remoteIpBlocks: tuple[str, ...] = ()
    notRemoteIpBlocks: tuple[str, ...] = ()


class RuleFrom(Message, frozen=True, kw_only=True):
    source: Source | None = None


class RequestOperation(Message, frozen=True, kw_only=True):
    """All fields that are set hold together; the values of one are alternatives."""

    hosts: tuple[str, ...] = ()
    notHosts: tuple[str, ...] = ()
    ports: tuple[str, ...] = ()
    notPorts: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    notMethods: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    notPaths: tuple[str, ...] = ()


class RuleTo(Message, frozen=True, kw_only=True):
    operation: RequestOperation | None = None


class Condition(Message, frozen=True, kw_only=True):
    """An attribute, such as `request.headers[version]` or `source.ip`, and the values that it may or may not have."""

    key: str = ""
    values: tuple[str, ...] = ()
    notValues: tuple[str, ...] = ()


class AuthorizationRule(Message, frozen=True, kw_only=True, rename={"from_": "from"}):
    """One of `from`, one of `to` and all of `when`. The empty rule matches every request."""

    from_: tuple[RuleFrom, ...] = ()
    to: tuple[RuleTo, ...] = ()
    when: tuple[Condition, ...] = ()


class AuthorizationPolicy(Message, frozen=True, kw_only=True):
    """Without `rules` it matches nothing: an ALLOW policy then denies every request to the workloads that it selects."""

    selector: LabelSelector | None = None
    rules: tuple[AuthorizationRule, ...] = ()
    action: Literal["ALLOW", "DENY"] = "ALLOW"


AUTHORIZATION_POLICY = registry.add(
    Kind(
        group="security.istio.io",
        version="v1beta1",
        name="AuthorizationPolicy",
        plural="authorizationpolicies",
        collection="istio/security/v1beta1/authorizationpolicies",
        spec=AuthorizationPolicy,
        short_names=("ap",),
    )
)
