# SPDX-License-Identifier: Apache-2.0
"""Templates for sovereign, in Python, which is the fastest kind that it has: resources of all services, as lean as traffic allows.

It runs in sovereign's interpreter: only the standard library is there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

Resource = dict[str, Any]
MANAGER = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
ROUTER = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
POLLED = {
    "api_config_source": {"api_type": "REST", "transport_api_version": "V3", "cluster_names": ["sovereign"], "refresh_delay": "1s"},
    "resource_api_version": "V3",
}


def clusters(instances: Sequence[Resource], **_: Any) -> Iterator[Resource]:
    for service in instances:
        name = _cluster(service)
        yield {
            "name": name,
            "type": "EDS",
            "connect_timeout": "10s",
            "eds_cluster_config": {"eds_config": POLLED, "service_name": name},
        }


def endpoints(instances: Sequence[Resource], **_: Any) -> Iterator[Resource]:
    for service in instances:
        addresses = ({"socket_address": {"address": address, "port_value": service["port"]}} for address in service["addresses"])
        yield {"cluster_name": _cluster(service), "endpoints": [{"lb_endpoints": [{"endpoint": {"address": at}} for at in addresses]}]}


def listeners(instances: Sequence[Resource], **_: Any) -> Iterator[Resource]:
    """One for each port."""
    for port in sorted({service["port"] for service in instances}):
        manager = {
            "@type": MANAGER,
            "stat_prefix": f"outbound_{port}",
            "rds": {"route_config_name": str(port), "config_source": POLLED},
            "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {"@type": ROUTER}}],
        }
        yield {
            "name": f"0.0.0.0_{port}",
            "address": {"socket_address": {"address": "0.0.0.0", "port_value": port}},
            "filter_chains": [{"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}],
        }


def routes(instances: Sequence[Resource], **_: Any) -> Iterator[Resource]:
    """One for each port, with a virtual host for each service."""
    for port in sorted({service["port"] for service in instances}):
        hosts = [_virtual_host(service) for service in instances if service["port"] == port]
        yield {"name": str(port), "virtual_hosts": hosts}


def _virtual_host(service: Resource) -> Resource:
    name = f"{service['host']}:{service['port']}"
    route = {"match": {"prefix": "/"}, "route": {"cluster": _cluster(service)}}
    return {"name": name, "domains": [service["host"], name], "routes": [route]}


def _cluster(service: Resource) -> str:
    return f"outbound|{service['port']}||{service['host']}"
