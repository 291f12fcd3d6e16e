# SPDX-License-Identifier: Apache-2.0
"""The older authorization of Istio: roles, who has them, and where they count. AuthorizationPolicy replaced it in 1.4."""

from __future__ import annotations

from typing import Literal

from common.config.kinds.message import Message
from common.config.registry import Kind, registry

EnforcementMode = Literal["ENFORCED", "PERMISSIVE"]


class Constraint(Message, frozen=True, kw_only=True):
    """A further condition on the request or its destination, such as `destination.labels[version]`."""

    key: str = ""
    values: tuple[str, ...] = ()


class AccessRule(Message, frozen=True, kw_only=True):
    """What a role may do. `services` are full names; `*` may begin or end one."""

    services: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    notHosts: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    notPaths: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    notMethods: tuple[str, ...] = ()
    ports: tuple[int, ...] = ()
    notPorts: tuple[int, ...] = ()
    constraints: tuple[Constraint, ...] = ()


class ServiceRole(Message, frozen=True, kw_only=True):
    rules: tuple[AccessRule, ...] = ()


class Subject(Message, frozen=True, kw_only=True):
    """All fields that are set hold together. `group` is deprecated: use `groups`."""

    user: str = ""
    names: tuple[str, ...] = ()
    notNames: tuple[str, ...] = ()
    group: str = ""
    groups: tuple[str, ...] = ()
    notGroups: tuple[str, ...] = ()
    namespaces: tuple[str, ...] = ()
    notNamespaces: tuple[str, ...] = ()
    ips: tuple[str, ...] = ()
    notIps: tuple[str, ...] = ()
    properties: dict[str, str] = {}


class RoleRef(Message, frozen=True, kw_only=True):
    kind: str = ""
    name: str = ""


class ServiceRoleBinding(Message, frozen=True, kw_only=True):
    """Exactly one of `roleRef`, `role` and `actions` says what the subjects may do."""

    subjects: tuple[Subject, ...] = ()
    roleRef: RoleRef | None = None
    role: str = ""
    actions: tuple[AccessRule, ...] = ()
    mode: EnforcementMode = "ENFORCED"


class RbacTarget(Message, frozen=True, kw_only=True):
    services: tuple[str, ...] = ()
    namespaces: tuple[str, ...] = ()


class RbacConfig(Message, frozen=True, kw_only=True):
    """RbacConfig (deprecated) and ClusterRbacConfig share this shape."""

    mode: Literal["OFF", "ON", "ON_WITH_INCLUSION", "ON_WITH_EXCLUSION"] = "OFF"
    inclusion: RbacTarget | None = None
    exclusion: RbacTarget | None = None
    enforcementMode: EnforcementMode = "ENFORCED"


def _kind(name: str, plural: str, spec: type[Message], *, cluster_scoped: bool = False) -> Kind:
    return registry.add(
        Kind(
            group="rbac.istio.io",
            version="v1alpha1",
            name=name,
            plural=plural,
            collection=f"istio/rbac/v1alpha1/{plural}",
            spec=spec,
            cluster_scoped=cluster_scoped,
        )
    )


SERVICE_ROLE = _kind("ServiceRole", "serviceroles", ServiceRole)
SERVICE_ROLE_BINDING = _kind("ServiceRoleBinding", "servicerolebindings", ServiceRoleBinding)
RBAC_CONFIG = _kind("RbacConfig", "rbacconfigs", RbacConfig)
CLUSTER_RBAC_CONFIG = _kind("ClusterRbacConfig", "clusterrbacconfigs", RbacConfig, cluster_scoped=True)
