# SPDX-License-Identifier: Apache-2.0
"""ServiceEntry and WorkloadEntry: services and the machines that serve them, where no Kubernetes knows either."""

from __future__ import annotations

from typing import Literal

from common.config.kinds.message import Message, Port, WorkloadSelector

Location = Literal["MESH_EXTERNAL", "MESH_INTERNAL"]
Resolution = Literal["NONE", "STATIC", "DNS"]


class WorkloadEntry(Message, frozen=True, kw_only=True):
    """One instance of a service. Also the shape of a ServiceEntry's inline endpoints.

    `ports` maps the service's port name to the port on this machine; a port that is not named keeps the service's number.
    """

    address: str
    ports: dict[str, int] = {}
    labels: dict[str, str] = {}
    network: str = ""
    locality: str = ""
    weight: int = 0
    serviceAccount: str = ""


class ServiceEntry(Message, frozen=True, kw_only=True):
    """A service by its DNS names. Endpoints stand inline, come from WorkloadEntries with `workloadSelector`'s labels, or from DNS."""

    hosts: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    ports: tuple[Port, ...] = ()
    location: Location = "MESH_EXTERNAL"
    resolution: Resolution = "NONE"
    endpoints: tuple[WorkloadEntry, ...] = ()
    workloadSelector: WorkloadSelector | None = None
    exportTo: tuple[str, ...] = ()
    subjectAltNames: tuple[str, ...] = ()
