# SPDX-License-Identifier: Apache-2.0
"""Mixer's settings. Names follow `mixs server` of Istio 1.4 where a setting means the same."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from common.lifecycle.settings import PartSettings
from common.mesh import names


class MixerSettings(PartSettings):
    """What `mixer serve` can be told."""

    grpc_address: str = Field(f"127.0.0.1:{names.MIXER_GRPC}", description="reports of proxies and istio.mixer.v1, gRPC over mutual TLS")
    check_address: str = Field(f"127.0.0.1:{names.MIXER_CHECK}", description="checks of proxies, HTTP/1.1 over mutual TLS")
    metrics_address: str = Field(
        f"127.0.0.1:{names.MIXER_METRICS}", description="/metrics of the mesh, made by the prometheus adapter; empty turns it off"
    )
    galley_address: str = Field(f"127.0.0.1:{names.GALLEY_MCP}", description="Galley's MCP service")
    galley_status_address: str = Field(
        f"127.0.0.1:{names.GALLEY_REGISTRATION}", description="Galley's registration and status service, for reports; empty: none"
    )
    config_default_namespace: str = Field(names.ROOT_NAMESPACE, description="namespace whose rules apply to every request")
    config_settle: float = Field(0.05, ge=0, description="seconds that changes of configuration gather before a new snapshot")
    output_directories: tuple[Path, ...] = Field((), description="directories under which the stdio adapter may write files")
    adapter_timeout: float = Field(1.0, gt=0, description="seconds that one call of an adapter may take")
    adapter_concurrency: int = Field(64, gt=0, description="calls of one handler that may wait at once")
    workload_linger: float = Field(30.0, ge=0, description="seconds for which a workload that left is still known to late reports")
    max_message_size: int = Field(1024 * 1024, gt=0, description="largest gRPC message taken, in bytes")
    loadshedding_mode: Literal["disabled", "logonly", "enforce"] = Field("disabled", description="whether overload refuses work")
    max_requests_per_second: float = Field(0.0, ge=0, description="limit for load shedding; 0: none; a report costs its entries")
    burst_size: int = Field(0, ge=0, description="requests that may come at once beyond the limit")
    average_latency_threshold: float = Field(0.0, ge=0, description="average latency in seconds above which work is refused; 0: none")
    latency_enforcement_threshold: float = Field(100.0, ge=0, description="requests a second below which latency refuses nothing")
