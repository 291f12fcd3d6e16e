# SPDX-License-Identifier: Apache-2.0
"""Kubernetes' Ingress, in the version of Istio 1.4's days (extensions/v1beta1), its successor and today's.

Three kinds, because two versions write a backend differently; a stored object keeps the version in which it was written.
"""

from __future__ import annotations

from typing import Any, Literal

from common.config.kinds.message import Message
from common.config.registry import Kind, registry

PathType = Literal["", "Exact", "Prefix", "ImplementationSpecific"]


class IngressTLS(Message, frozen=True, kw_only=True):
    """`secretName` is the name of a credential at the gateway's agent."""

    hosts: tuple[str, ...] = ()
    secretName: str = ""


class ServiceBackendPort(Message, frozen=True, kw_only=True):
    name: str = ""
    number: int = 0


class IngressServiceBackend(Message, frozen=True, kw_only=True):
    name: str = ""
    port: ServiceBackendPort | None = None


class IngressBackend(Message, frozen=True, kw_only=True):
    """`resource` is accepted and not read: only services can be reached."""

    service: IngressServiceBackend | None = None
    resource: dict[str, Any] | None = None


class HTTPIngressPath(Message, frozen=True, kw_only=True):
    backend: IngressBackend
    path: str = ""
    pathType: PathType = ""


class HTTPIngressRuleValue(Message, frozen=True, kw_only=True):
    paths: tuple[HTTPIngressPath, ...] = ()


class IngressRule(Message, frozen=True, kw_only=True):
    """Without `host` it is for every host that no other rule names."""

    host: str = ""
    http: HTTPIngressRuleValue | None = None


class Ingress(Message, frozen=True, kw_only=True):
    ingressClassName: str = ""
    defaultBackend: IngressBackend | None = None
    tls: tuple[IngressTLS, ...] = ()
    rules: tuple[IngressRule, ...] = ()


class IngressBackendV1Beta1(Message, frozen=True, kw_only=True):
    """`servicePort` is a number, or the name of a port of the service."""

    serviceName: str = ""
    servicePort: int | str | None = None
    resource: dict[str, Any] | None = None


class HTTPIngressPathV1Beta1(Message, frozen=True, kw_only=True):
    backend: IngressBackendV1Beta1
    path: str = ""
    pathType: PathType = ""


class HTTPIngressRuleValueV1Beta1(Message, frozen=True, kw_only=True):
    paths: tuple[HTTPIngressPathV1Beta1, ...] = ()


class IngressRuleV1Beta1(Message, frozen=True, kw_only=True):
    host: str = ""
    http: HTTPIngressRuleValueV1Beta1 | None = None


class IngressV1Beta1(Message, frozen=True, kw_only=True):
    ingressClassName: str = ""
    backend: IngressBackendV1Beta1 | None = None
    tls: tuple[IngressTLS, ...] = ()
    rules: tuple[IngressRuleV1Beta1, ...] = ()


def _kind(group: str, version: str, spec: type[Message]) -> Kind:
    return registry.add(
        Kind(
            group=group,
            version=version,
            name="Ingress",
            plural="ingresses",
            collection=f"k8s/{group}/{version}/ingresses",
            spec=spec,
            short_names=("ing",),
        )
    )


INGRESS = _kind("networking.k8s.io", "v1", Ingress)
INGRESS_V1BETA1 = _kind("networking.k8s.io", "v1beta1", IngressV1Beta1)
INGRESS_EXTENSIONS = _kind("extensions", "v1beta1", IngressV1Beta1)
