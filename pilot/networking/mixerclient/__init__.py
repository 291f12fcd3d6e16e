# SPDX-License-Identifier: Apache-2.0
"""What Pilot puts into Envoy so that Mixer is asked (Check) and told (Report).

Envoy 1.40 has no Mixer filter. One constant Lua text takes its place for Check, the gRPC access log for Report. How the rest of
`pilot.networking` uses this room:

* every inbound HTTP chain and every gateway chain gets `http_filters(...)`, before the router and after authentication and authorization;
* every inbound route (or virtual host, or route configuration) and every gateway route gets `per_route(RouteCheck(...))`. Whether anything is checked
  is decided there, so it travels by RDS; a route without it is not checked, but internal headers are still taken off;
* every outbound and gateway route to a known service gets `forwarded_service(service)` among `request_headers_to_add`; routes to places that are not
  in the mesh get `INTERNAL_HEADERS` in `request_headers_to_remove`;
* clusters and routes carry `service_metadata(service)` under the metadata namespace `SERVICE_METADATA`, so that Report knows the service;
  where it is missing, Mixer reads the cluster's name. Routes that are checked have `CHECKED` merged into it;
* every HTTP connection manager gets `http_access_logs(direction)`, every TCP proxy `tcp_access_logs(direction)` and `TCP_ACCESS_LOG_OPTIONS`.

Nothing here depends on a proxy but whether it holds the filter's text already, so the results may be shared by all that are alike in that.
"""

from pilot.networking.mixerclient.check import FILTER_NAME, QuotaRule, RouteCheck, StringMatch, http_filters, per_route
from pilot.networking.mixerclient.report import TCP_ACCESS_LOG_OPTIONS, http_access_logs, tcp_access_logs
from pilot.networking.mixerclient.service import (
    CHECKED,
    INTERNAL_HEADERS,
    SERVICE_METADATA,
    MeshService,
    forwarded_service,
    service_metadata,
)

__all__ = [
    "CHECKED",
    "FILTER_NAME",
    "INTERNAL_HEADERS",
    "SERVICE_METADATA",
    "TCP_ACCESS_LOG_OPTIONS",
    "MeshService",
    "QuotaRule",
    "RouteCheck",
    "StringMatch",
    "forwarded_service",
    "http_access_logs",
    "http_filters",
    "per_route",
    "service_metadata",
    "tcp_access_logs",
]
