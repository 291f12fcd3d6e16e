# SPDX-License-Identifier: Apache-2.0
"""The Kubernetes kinds that a mesh needs: Service, Endpoints, Namespace.

Fields of Kubernetes that have no meaning here (session affinity, traffic policies) are declared so that stock manifests pass the
closed schema; nothing reads them.
"""

from __future__ import annotations

from typing import Any, Literal

from common.config.kinds.message import Message
from common.config.registry import Kind, registry


class ServicePort(Message, frozen=True, kw_only=True):
    """Istio reads the application protocol from the name (`http`, `http-web`, `tcp-db`, ...); `targetPort` is a number or a port's name."""

    port: int
    name: str = ""
    protocol: Literal["TCP", "UDP", "SCTP"] = "TCP"
    targetPort: int | str | None = None
    nodePort: int = 0
    appProtocol: str = ""


class Service(Message, frozen=True, kw_only=True):
    """Endpoints are the WorkloadEntries of the same namespace that carry all labels of `selector`."""

    ports: tuple[ServicePort, ...] = ()
    selector: dict[str, str] = {}
    clusterIP: str = ""
    type: Literal["ClusterIP", "NodePort", "LoadBalancer", "ExternalName"] = "ClusterIP"
    externalName: str = ""
    externalIPs: tuple[str, ...] = ()
    publishNotReadyAddresses: bool = False
    sessionAffinity: str = ""
    sessionAffinityConfig: dict[str, Any] = {}
    loadBalancerIP: str = ""
    loadBalancerSourceRanges: tuple[str, ...] = ()
    externalTrafficPolicy: str = ""
    internalTrafficPolicy: str = ""
    healthCheckNodePort: int = 0
    clusterIPs: tuple[str, ...] = ()
    ipFamilies: tuple[str, ...] = ()
    ipFamilyPolicy: str = ""


class ObjectReference(Message, frozen=True, kw_only=True):
    kind: str = ""
    name: str = ""
    namespace: str = ""
    uid: str = ""
    resourceVersion: str = ""
    apiVersion: str = ""
    fieldPath: str = ""


class EndpointAddress(Message, frozen=True, kw_only=True):
    ip: str
    hostname: str = ""
    nodeName: str = ""
    targetRef: ObjectReference | None = None


class EndpointPort(Message, frozen=True, kw_only=True):
    port: int
    name: str = ""
    protocol: Literal["TCP", "UDP", "SCTP"] = "TCP"
    appProtocol: str = ""


class EndpointSubset(Message, frozen=True, kw_only=True):
    """The product of its ready addresses and its ports."""

    addresses: tuple[EndpointAddress, ...] = ()
    notReadyAddresses: tuple[EndpointAddress, ...] = ()
    ports: tuple[EndpointPort, ...] = ()


class Endpoints(Message, frozen=True, kw_only=True):
    """Explicit endpoints of the Service with the same name and namespace. In the document `subsets` stands at the top level."""

    subsets: tuple[EndpointSubset, ...] = ()


class Namespace(Message, frozen=True, kw_only=True):
    finalizers: tuple[str, ...] = ()


SERVICE = registry.add(
    Kind(group="", version="v1", name="Service", plural="services", collection="k8s/core/v1/services", spec=Service, short_names=("svc",))
)
ENDPOINTS = registry.add(
    Kind(
        group="",
        version="v1",
        name="Endpoints",
        plural="endpoints",
        collection="k8s/core/v1/endpoints",
        spec=Endpoints,
        short_names=("ep",),
        payload_field=None,
    )
)
NAMESPACE = registry.add(
    Kind(
        group="",
        version="v1",
        name="Namespace",
        plural="namespaces",
        collection="k8s/core/v1/namespaces",
        spec=Namespace,
        cluster_scoped=True,
        short_names=("ns",),
    )
)
