# SPDX-License-Identifier: Apache-2.0
"""What `pilot-agent proxy` can be told besides the proxy itself: how to register the workload and how to see its health."""

from __future__ import annotations

from typing import Any

from pydantic import Field, field_validator, model_validator

from common.lifecycle.http import split_address
from common.mesh import names
from pilot.agent.settings import ProxySettings


class SidecarSettings(ProxySettings):
    """Settings of a sidecar or a gateway."""

    monitoring_address: str = Field(
        "", description="/metrics, /healthz, /ready, /version of the agent; empty: off, as there are many agents"
    )
    ctrlz_address: str = Field("", description="introspection pages of the agent (need an API token); empty: off")
    galley_address: str = Field(f"127.0.0.1:{names.GALLEY_REGISTRATION}", description="Galley's registration (mutual TLS)")
    ports: dict[str, int] = Field({}, description="ports of the workload, as http=9080,tcp=9000")
    health_url: str = Field("", description="http://host:port/path that answers 200-399 when the application is healthy")
    health_tcp: str = Field("", description="host:port that accepts a connection when the application is healthy")
    health_interval: float = Field(0.5, gt=0, description="seconds between health checks")
    health_timeout: float = Field(1.0, gt=0, description="seconds that the application may take to answer one")
    heartbeat_interval: float = Field(1.0, gt=0, description="seconds between heartbeats to Galley")

    @field_validator("ports", mode="before")
    @classmethod
    def _ports(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        pairs = [pair.partition("=") for pair in value.split(",") if pair]
        for name, _, number in pairs:
            if not number.strip().isdigit():
                raise ValueError(f"port {name!r} is not of the form name=number")
        return {name.strip(): int(number) for name, _, number in pairs}

    @field_validator("health_tcp")
    @classmethod
    def _is_address(cls, value: str) -> str:
        if value:
            split_address(value)
        return value

    @field_validator("health_url")
    @classmethod
    def _is_url(cls, value: str) -> str:
        if value and not value.startswith("http://"):
            raise ValueError("the application beside its own sidecar is asked by http://")
        return value

    @model_validator(mode="after")
    def _one_check(self) -> SidecarSettings:
        if self.health_url and self.health_tcp:
            raise ValueError("set only one of health_url and health_tcp")
        return self
