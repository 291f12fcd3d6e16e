# SPDX-License-Identifier: Apache-2.0
"""What Galley can be told, beyond what every part can."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from common.database.engine import sqlite_url
from common.lifecycle.settings import PartSettings
from common.mesh import names


class GalleySettings(PartSettings):
    """Settings of `galley serve`."""

    mcp_address: str = Field(f"127.0.0.1:{names.GALLEY_MCP}", description="MCP for Pilot and Mixer (mutual TLS); empty serves nobody")
    mcp_access_list: Path | None = Field(
        None, description="YAML file (allowed: [SPIFFE ids]) of who may subscribe; default: Pilot and Mixer of this mesh"
    )
    mcp_sinks: list[str] = Field(
        [], description="sinks that Galley calls, each part@host:port with the part whose certificate it holds (call-out mode)"
    )
    mcp_sink_metadata: list[str] = Field([], description="key=value pairs that go with every call to a sink")
    registration_address: str = Field(
        f"127.0.0.1:{names.GALLEY_REGISTRATION}", description="registration of workloads and status reports (mutual TLS)"
    )
    rest_address: str = Field(f"127.0.0.1:{names.GALLEY_REST}", description="Kubernetes-shaped REST (HTTPS, API tokens)")
    webhook_address: str = Field(
        "", description=f"admission webhook for a Kubernetes API server (HTTPS; Istio's port is {names.GALLEY_WEBHOOK}); empty serves none"
    )
    database: str = Field("", description="sqlite:///path or postgresql://…; default galley.db in the state directory")
    config_path: Path | None = Field(None, description="directory of YAML files to watch; what it declares cannot be changed by the API")
    kubernetes: str = Field(
        "", description="kubeconfig of a Kubernetes API server whose objects to serve, or 'in-cluster'; only it can change them then"
    )
    kubernetes_context: str = Field("", description="context of the kubeconfig; empty is its current one")
    resync_seconds: float = Field(600.0, ge=0, description="how often everything is listed from Kubernetes without a reason; 0 is never")
    when_locked: Literal["fail", "wait"] = Field(
        "fail", description="when another Galley holds the SQLite database: fail, or stand by until it ends"
    )
    lenient: bool = Field(False, description="ignore unknown fields in documents, as Istio 1.4 did, instead of refusing them")

    @property
    def database_url(self) -> str:
        return self.database or sqlite_url(self.state_dir / "galley.db")
