# SPDX-License-Identifier: Apache-2.0
"""Outbound clusters: one for each port of a visible service and one more for each subset."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from envoy.config.cluster.v3 import cluster_pb2
from envoy.extensions.clusters.common.dns.v3 import dns_pb2
from envoy.extensions.clusters.dns.v3 import dns_cluster_pb2

from common.config.kinds.mesh import MeshConfig
from common.config.kinds.networking import TLSSettings
from common.config.resource import ResourceKey
from pilot.model.authentication import PeerPolicies
from pilot.model.destination_rules import HostRule, effective_policy
from pilot.model.service import EndpointSet, Port, Protocol, Resolution, Service
from pilot.networking import tls
from pilot.networking.endpoint import ISTIO, TLS_MODE, load_assignment
from pilot.networking.mixerclient import SERVICE_METADATA, MeshService, service_metadata
from pilot.networking.names import BLACK_HOLE, PASSTHROUGH, ClusterName
from pilot.networking.traffic_policy import apply_policy, set_unlimited
from pilot.networking.wire import optional_seconds, pack, set_ads, set_seconds

Cluster = cluster_pb2.Cluster

_MIN_REFRESH_SECONDS: Final = 0.1
_DNS_CLUSTER: Final = "envoy.clusters.dns"


@dataclass(frozen=True, slots=True)
class ServiceView:
    """A service as the clients of one scope see it: with its destination rule and what is known of its endpoints."""

    service: Service
    rule: HostRule | None
    endpoints: EndpointSet
    mesh: MeshConfig
    policies: PeerPolicies
    captures: bool
    """The clients know a connection's original destination (sidecars in REDIRECT mode)."""

    @property
    def sources(self) -> tuple[ResourceKey, ...]:
        return (self.service.source, *(self.rule.sources if self.rule is not None else ()))


def service_clusters(view: ServiceView) -> Iterator[Cluster]:
    """All clusters of one service, port by port: the whole service first, then its subsets by name."""
    numbers: set[int] = set()
    for port in view.service.ports:
        if port.protocol is Protocol.UDP or port.number in numbers:
            continue
        numbers.add(port.number)
        for subset in ("", *sorted(view.rule.subsets if view.rule is not None else ())):
            yield _outbound(view, port, subset)


def _outbound(view: ServiceView, port: Port, subset: str) -> Cluster:
    service, rule = view.service, view.rule
    name = ClusterName("outbound", port.number, subset, service.hostname)
    cluster = Cluster(name=str(name))
    labels = rule.subsets[subset].labels if rule is not None and subset else {}
    _set_discovery(cluster, view, port, labels)
    policy = effective_policy(rule, subset, port.number)
    apply_policy(cluster, policy, view.mesh, port.protocol)
    _set_tls(cluster, view, port, name, policy.tls)
    mesh_service = MeshService(host=service.hostname, name=service.name, namespace=service.namespace)
    cluster.metadata.filter_metadata[SERVICE_METADATA].MergeFrom(service_metadata(mesh_service))
    if rule is not None:
        _set_origin(cluster, rule.sources[0])
    return cluster


def _set_discovery(cluster: Cluster, view: ServiceView, port: Port, labels: dict[str, str]) -> None:
    service = view.service
    if service.resolution is Resolution.DNS:
        _set_dns(cluster, view.mesh)
        cluster.load_assignment.CopyFrom(
            load_assignment(cluster.name, service, port, view.endpoints.endpoints, labels=labels, policies=view.policies)
        )
    elif service.resolution is Resolution.PASSTHROUGH and view.captures:
        cluster.type = Cluster.ORIGINAL_DST
    else:
        cluster.type = Cluster.EDS
        set_ads(cluster.eds_cluster_config.eds_config)


def _set_dns(cluster: Cluster, mesh: MeshConfig) -> None:
    """Envoy 1.40 keeps the settings of STRICT_DNS in an extension; the old fields are deprecated."""
    dns = dns_cluster_pb2.DnsCluster(respect_dns_ttl=True, dns_lookup_family=dns_pb2.V4_ONLY)
    set_seconds(dns.dns_refresh_rate, max(optional_seconds(mesh.dnsRefreshRate) or 5.0, _MIN_REFRESH_SECONDS))
    cluster.cluster_type.name = _DNS_CLUSTER
    pack(dns, cluster.cluster_type.typed_config)


def _set_tls(cluster: Cluster, view: ServiceView, port: Port, name: ClusterName, settings: TLSSettings | None) -> None:
    """What the rule says; without a word from it, mutual TLS for those endpoints that understand it (MeshConfig.enableAutoMtls)."""
    http2 = port.protocol.is_http2
    if settings is not None and settings.mode == "ISTIO_MUTUAL":
        sans = tls.name_matchers(settings.subjectAltNames) or _identities(view)
        tls.mutual_upstream(cluster.transport_socket, sni=settings.sni or name.sni, sans=sans, http2=http2)
    elif settings is not None and settings.mode in ("SIMPLE", "MUTUAL"):
        tls.originated_upstream(cluster.transport_socket, settings, sans=view.service.declared_accounts, http2=http2)
    elif settings is None and view.mesh.enableAutoMtls and not view.service.mesh_external and not _is_original_dst(cluster):
        match = cluster.transport_socket_matches.add()
        match.name = "tlsMode-istio"
        match.match.fields[TLS_MODE].string_value = ISTIO
        tls.mutual_upstream(match.transport_socket, sni=name.sni, sans=_identities(view), http2=http2)
        # Other endpoints get the cluster's own transport socket, which is plaintext; Istio spells that out as a second match.


def _identities(view: ServiceView) -> list[tls.Matcher]:
    """Who may answer for the service: the accounts of its endpoints and those that configuration declares.

    While none is known, any account of the service's namespace: workloads serve only services of their own namespace, and checking nothing
    (Istio 1.4) would let every workload of the mesh impersonate a service that is down.
    """
    accounts = sorted({*view.endpoints.accounts, *view.service.declared_accounts})
    if accounts:
        return [tls.spiffe_exact(account) for account in accounts]
    domains = (view.mesh.trustDomain, *view.mesh.trustDomainAliases)
    return [tls.spiffe_prefix(f"spiffe://{domain}/ns/{view.service.namespace}/sa/") for domain in domains]


def _is_original_dst(cluster: Cluster) -> bool:
    return cluster.WhichOneof("cluster_discovery_type") == "type" and cluster.type == Cluster.ORIGINAL_DST


def _set_origin(cluster: Cluster, source: ResourceKey) -> None:
    """`metadata.istio.config`: the rule that shaped it, where Istio's tools look for it."""
    path = f"/apis/networking.istio.io/v1alpha3/namespaces/{source.namespace}/destination-rule/{source.name}"
    cluster.metadata.filter_metadata["istio"].fields["config"].string_value = path


def special_clusters(mesh: MeshConfig, *, sidecar: bool) -> Iterator[Cluster]:
    """Where traffic goes that no service claims: nowhere, or (sidecars) to its original destination."""
    black_hole = Cluster(name=BLACK_HOLE, type=Cluster.STATIC)
    set_seconds(black_hole.connect_timeout, optional_seconds(mesh.connectTimeout) or 1.0)
    yield black_hole
    if sidecar:
        passthrough = Cluster(name=PASSTHROUGH, type=Cluster.ORIGINAL_DST, lb_policy=Cluster.CLUSTER_PROVIDED)
        set_seconds(passthrough.connect_timeout, optional_seconds(mesh.connectTimeout) or 1.0)
        set_unlimited(passthrough.circuit_breakers.thresholds.add())
        yield passthrough
