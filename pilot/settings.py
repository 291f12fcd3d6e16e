# SPDX-License-Identifier: Apache-2.0
"""Pilot's settings. Names follow `pilot-discovery` of Istio 1.4 where a setting means the same."""

from __future__ import annotations

from pydantic import Field

from common.lifecycle.settings import PartSettings
from common.mesh import names


class PilotSettings(PartSettings):
    """What `pilot serve` can be told."""

    secure_grpc_address: str = Field(f"127.0.0.1:{names.PILOT_XDS_TLS}", description="xDS for proxies over mutual TLS")
    grpc_address: str = Field(
        "",
        description=f"plaintext xDS, for trials only: anybody may ask for anything (Istio's port is {names.PILOT_XDS_PLAIN}); empty: off",
    )
    http_address: str = Field(f"127.0.0.1:{names.PILOT_DEBUG}", description="/ready and the debug pages (need an API token); empty: off")
    galley_address: str = Field(f"127.0.0.1:{names.GALLEY_MCP}", description="Galley's MCP service")
    galley_status_address: str = Field(
        f"127.0.0.1:{names.GALLEY_REGISTRATION}", description="Galley's registration and status service, for reports; empty: none"
    )
    push_interval: float = Field(
        0.1, ge=0, description="least seconds between two snapshots, and between two pushes of one type to one proxy"
    )
    debounce_after: float = Field(
        0.002,
        ge=0,
        description="seconds without a change to wait for before a snapshot, so that what was applied together arrives together; 0: none",
    )
    debounce_max: float = Field(10.0, gt=0, description="longest wait for quiet, in seconds")
    max_requests_per_second: float = Field(500.0, gt=0, description="new streams a second; more wait their turn")
    write_timeout: float = Field(30.0, gt=0, description="seconds after which a proxy that does not take a response is cut off")
    keepalive_max_server_connection_age: float = Field(
        1800.0,
        gt=0,
        description="seconds after which proxies are told to connect again, so that replicas are balanced and certificates seen",
    )
    lease_grace: float = Field(
        60.0, ge=0, description="seconds after a start in which no registered workload is forgotten for lack of news"
    )
