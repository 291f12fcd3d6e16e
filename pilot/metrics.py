# SPDX-License-Identifier: Apache-2.0
"""Pilot's metrics, in Istio 1.4's names where it had them."""

from __future__ import annotations

from typing import Final

from common.mesh.names import TYPE_CLUSTER, TYPE_ENDPOINT, TYPE_LISTENER, TYPE_ROUTE, TYPE_VIRTUAL_HOST
from common.telemetry.metrics import process_registry as _registry

TYPE_LABEL: Final = {TYPE_CLUSTER: "cds", TYPE_ENDPOINT: "eds", TYPE_LISTENER: "lds", TYPE_ROUTE: "rds", TYPE_VIRTUAL_HOST: "vhds"}

PROXIES = _registry.gauge("pilot_xds", "Proxies connected by xDS.")
SERVICES = _registry.gauge("pilot_services", "Services known to Pilot.")
VIRTUAL_SERVICES = _registry.gauge("pilot_virt_services", "VirtualServices known to Pilot.")
PUSHES = _registry.counter(
    "pilot_xds_pushes", "Responses sent, by type (cds, eds, lds, rds, vhds), and failed sends (cds_senderr, ...).", ["type"]
)
PUSH_TIME = _registry.histogram(
    "pilot_xds_push_time",
    "Seconds from sending a response to its acknowledgement.",
    ["type"],
    buckets=(0.001, 0.01, 0.1, 1, 3, 5, 10, 20, 30),
)
CONVERGENCE_TIME = _registry.histogram(
    "pilot_proxy_convergence_time",
    "Seconds from receiving a change to the last acknowledgement by a proxy that it concerns.",
    buckets=(0.01, 0.05, 0.1, 0.5, 1, 3, 5, 10, 20, 30),
)
QUEUE_TIME = _registry.histogram(
    "pilot_proxy_queue_time",
    "Seconds from receiving a change to offering it to the proxies.",
    buckets=(0.01, 0.05, 0.1, 1, 3, 5, 10, 20, 30),
)
CONTEXT_TIME = _registry.histogram("pilot_pushcontext_init_seconds", "Seconds to build a snapshot and generate what changed.")
REJECTS = {
    kind: _registry.gauge(f"pilot_xds_{kind}_reject", f"{kind.upper()} resources that a proxy refuses now.", ["node", "err"])
    for kind in TYPE_LABEL.values()
}
TOTAL_REJECTS = _registry.counter("pilot_total_xds_rejects", "Responses refused (NACK), by type.", ["type"])
EXPIRED_NONCE = _registry.counter("pilot_xds_expired_nonce", "Requests that answered something old, by type.", ["type"])
RDS_EXPIRED_NONCE = _registry.counter("pilot_rds_expired_nonce", "The same for routes, in the name of Istio 1.4.")
WRITE_TIMEOUT = _registry.counter("pilot_xds_write_timeout", "Streams cut because the proxy took too long to take a response.")
CONTEXT_ERRORS = _registry.counter("pilot_xds_push_context_errors", "Snapshots that could not be built; the one before stays.")
INTERNAL_ERRORS = _registry.counter("pilot_total_xds_internal_errors", "Errors in generating or serving; the log says which.")
INBOUND_UPDATES = _registry.counter("pilot_inbound_updates", "Changes received, by type (config, eds, svc).", ["type"])
PUSH_TRIGGERS = _registry.counter("pilot_push_triggers", "Snapshots published, by what caused them (config, endpoint, service).", ["type"])
REFUSED_STREAMS = _registry.counter("pilot_xds_refused_streams", "Streams that were not served, by reason.", ["reason"])
