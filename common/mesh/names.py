# SPDX-License-Identifier: Apache-2.0
"""Well-known names. Istio's where Istio 1.4 has one."""

from __future__ import annotations

from typing import Final

ROOT_NAMESPACE: Final = "istio-system"
DOMAIN: Final = "cluster.local"
SERVICE_DOMAIN: Final = "svc.cluster.local"
TRUST_DOMAIN: Final = "cluster.local"

# The identities of the four parts. Only these get DNS names in their certificates.
SERVICE_ACCOUNTS: Final = {part: f"istio-{part}-service-account" for part in ("galley", "pilot", "citadel", "mixer")}


def control_plane_dns_name(part: str) -> str:
    """The DNS name in a part's certificate by which its clients check it: `istio-galley.istio-system.svc`."""
    return f"istio-{part}.{ROOT_NAMESPACE}.svc"


# Ports, as Istio has them. On one host the launcher hands out free ones instead.
GALLEY_MCP, GALLEY_WEBHOOK, GALLEY_REST, GALLEY_REGISTRATION = 9901, 9443, 8001, 9902
PILOT_XDS_TLS, PILOT_XDS_PLAIN, PILOT_DEBUG = 15012, 15010, 8080
CITADEL_CSR, CITADEL_RENEWAL, CITADEL_ADMIN = 8060, 8061, 8062
MIXER_GRPC, MIXER_CHECK, MIXER_METRICS = 9091, 9092, 42422
MONITORING, CONTROLZ = 15014, 9876
SIDECAR_ADMIN, SIDECAR_OUTBOUND, SIDECAR_INBOUND, SIDECAR_STATUS, SIDECAR_STATS = 15000, 15001, 15006, 15020, 15090

# Clusters that every bootstrap defines, so that xDS never names a control-plane address.
XDS_CLUSTER, CHECK_CLUSTER, REPORT_CLUSTER, SDS_CLUSTER = "xds-grpc", "mixer-check", "mixer-report", "sds-grpc"
# SDS secrets that the node agent serves.
SDS_CERTIFICATE, SDS_ROOTS = "default", "ROOTCA"

TYPE_CLUSTER: Final = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
TYPE_ENDPOINT: Final = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
TYPE_LISTENER: Final = "type.googleapis.com/envoy.config.listener.v3.Listener"
TYPE_ROUTE: Final = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"
TYPE_VIRTUAL_HOST: Final = "type.googleapis.com/envoy.config.route.v3.VirtualHost"
TYPE_SECRET: Final = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"

PROXY_UID: Final = 1337
"""The user that Envoy runs as; interception leaves its packets alone."""
PASSTHROUGH_BIND: Final = "127.0.0.6"
"""Source address of inbound passthrough, which interception must not catch again."""
