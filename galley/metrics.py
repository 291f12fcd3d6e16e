# SPDX-License-Identifier: Apache-2.0
"""Every metric of Galley. Names are Istio 1.4's where it had the thing; those that begin with `galley_` and are not in its list are ours."""

from __future__ import annotations

from common.mcp.source import Answered
from common.proto.mcp import v1alpha1_pb2 as mcp
from common.telemetry.metrics import process_registry

COMPONENT = "galley"
SIZE_BUCKETS = (1 << 10, 16 << 10, 128 << 10, 1 << 20, 4 << 20, 16 << 20)

SNAPSHOTS_PUBLISHED = process_registry.counter("galley_runtime_processor_snapshots_published_total", "Snapshots handed to MCP.")
INSTANCES = process_registry.gauge("galley_runtime_state_type_instances_total", "Objects in the configuration.", ("collection",))
VALIDATION_PASSED = process_registry.counter(
    "galley_validation_passed", "Objects that passed validation.", ("group", "version", "resource")
)
VALIDATION_FAILED = process_registry.counter(
    "galley_validation_failed", "Objects that were refused.", ("group", "version", "resource", "reason")
)
VALIDATION_HTTP_ERRORS = process_registry.counter(
    "galley_validation_http_error", "Requests that the webhook could not answer.", ("status",)
)
VALIDATION_CERT_KEY_UPDATES = process_registry.counter("galley_validation_cert_key_updates", "Certificates that the webhook took up.")
VALIDATION_CERT_EXPIRY = process_registry.gauge(
    "galley_validation_cert_expiry_timestamp_seconds", "When the webhook's certificate ends, in Unix time."
)
MCP_CLIENTS = process_registry.gauge("istio_mcp_clients_total", "Connected sinks.", ("component",))
MCP_LAGGING = process_registry.gauge(
    "galley_mcp_lagging_clients", "Connected sinks that have not taken the newest state of all that they asked for.", ("component",)
)
MCP_MESSAGE_SIZES = process_registry.histogram(
    "istio_mcp_message_sizes_bytes", "Size of messages to sinks.", ("component", "collection"), buckets=SIZE_BUCKETS
)
MCP_ACKS = process_registry.counter("istio_mcp_request_acks_total", "Responses that a sink took.", ("component", "collection"))
MCP_NACKS = process_registry.counter("istio_mcp_request_nacks_total", "Responses that a sink refused.", ("component", "collection", "code"))

WORKLOADS = process_registry.gauge("galley_workloads", "Registered workloads by state.", ("state",))
WRITES = process_registry.counter("galley_writes_total", "Objects written, by what became of them.", ("action",))
SOURCE_ERRORS = process_registry.gauge("galley_source_files_in_error", "Files of the directory source that keep their last good state.")
FINDINGS = process_registry.gauge("galley_analysis_findings", "Findings of the last analysis.", ("level",))


class StreamMetrics:
    """Turns what happens on MCP streams into metrics."""

    def connected(self, peer: str, now_connected: int) -> None:
        MCP_CLIENTS.set(now_connected, COMPONENT)

    def answered(self, peer: str, answer: Answered) -> None:
        if answer.first or answer.stale:
            return
        if answer.error:
            MCP_NACKS.add(1, COMPONENT, answer.collection, str(answer.code))
        else:
            MCP_ACKS.add(1, COMPONENT, answer.collection)

    def lagging(self, sinks: int) -> None:
        MCP_LAGGING.set(sinks, COMPONENT)

    def sent(self, peer: str, response: mcp.Resources) -> None:
        MCP_MESSAGE_SIZES.observe(response.ByteSize(), COMPONENT, response.collection)
