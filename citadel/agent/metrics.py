# SPDX-License-Identifier: Apache-2.0
"""The node agent's metrics, with Istio 1.4's names."""

from __future__ import annotations

from common.telemetry.metrics import process_registry

pushes = process_registry.counter("total_pushes", "Secrets sent to Envoy")
push_errors = process_registry.counter("total_push_errors", "Secrets that Envoy refused")
connections = process_registry.gauge("total_active_connections", "SDS streams that are open now")
