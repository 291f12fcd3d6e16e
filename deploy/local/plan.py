# SPDX-License-Identifier: Apache-2.0
"""From what a mesh file asks for to where everything will be: names, addresses, users. Pure, so that it can be looked at before anything starts."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from common.mesh import names
from deploy.local.mesh_file import MeshFile, WorkloadSpec
from deploy.local.network import HUB_ADDRESS, workload_address

Interception = Literal["netns", "none"]

_FIRST_UID: Final = 30_000  # applications' users; each workload has its own, none is 1337
MOST_SLOTS: Final = 250  # meshes in none mode beside each other on one machine


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """One workload as it will run."""

    name: str
    spec: WorkloadSpec
    index: int
    ip: str
    """Where the mesh reaches it."""
    bind_host: str
    """Where its application shall listen."""
    outbound_host: str
    """Where its application finds the sidecar's outbound listeners; empty when connections are intercepted."""
    application_ip: str
    """Where the sidecar reaches the application."""
    uid: int | None
    """The application's user; None: the launcher's."""

    @property
    def status_address(self) -> str:
        return f"{self._own_host}:{names.SIDECAR_STATUS}"

    @property
    def stats_address(self) -> str:
        return f"{self._own_host}:{names.SIDECAR_STATS}"

    @property
    def _own_host(self) -> str:
        return self.ip if self.outbound_host else "0.0.0.0"

    def command(self) -> list[str]:
        """The application's command line; `python` is the interpreter that runs this."""
        command = list(self.spec.command)
        if command and command[0] in ("python", "python3"):
            command[0] = sys.executable
        return command

    def environment(self) -> dict[str, str]:
        """What its application is told besides the environment of the mesh."""
        told = {"BIND_HOST": self.bind_host, "WORKLOAD_NAME": self.name, "WORKLOAD_NAMESPACE": self.spec.namespace}
        if self.outbound_host and self.spec.sidecar:
            told["OUTBOUND_HOST"] = self.outbound_host
        return told | self.spec.env


def instances(mesh: MeshFile, interception: Interception, slot: int = 0) -> tuple[Instance, ...]:
    """All workloads with replicas told apart. `slot` keeps meshes in none mode apart: the third byte of their loopback addresses."""
    found: list[Instance] = []
    for spec in mesh.workloads:
        for replica in range(1, spec.replicas + 1):
            index = len(found) + 1
            name = spec.name if spec.replicas == 1 else f"{spec.name}-{replica}"
            found.append(_intercepted(name, spec, index) if interception == "netns" else _on_loopback(name, spec, index, slot))
    return tuple(found)


def _intercepted(name: str, spec: WorkloadSpec, index: int) -> Instance:
    return Instance(
        name=name,
        spec=spec,
        index=index,
        ip=workload_address(index),
        bind_host="0.0.0.0",
        outbound_host="",
        application_ip="127.0.0.1" if spec.sidecar else workload_address(index),
        uid=_FIRST_UID + index,
    )


def _on_loopback(name: str, spec: WorkloadSpec, index: int, slot: int) -> Instance:
    if not (index < 255 and 0 <= slot < MOST_SLOTS):
        raise ValueError(f"none mode has addresses for 254 workloads and {MOST_SLOTS} meshes")
    application = f"127.12.{slot}.{index}"
    return Instance(
        name=name,
        spec=spec,
        index=index,
        ip=f"127.10.{slot}.{index}" if spec.sidecar else application,
        bind_host=application,
        outbound_host=f"127.11.{slot}.{index}",
        application_ip=application,
        uid=None,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    """A port of the control plane. `public` ones are reached by workloads, the others only from beside the control plane."""

    part: str
    name: str
    port: int
    public: bool = False


LISTENERS: Final = (
    Listener(part="citadel", name="csr", port=names.CITADEL_CSR, public=True),
    Listener(part="citadel", name="renewal", port=names.CITADEL_RENEWAL, public=True),
    Listener(part="citadel", name="admin", port=names.CITADEL_ADMIN),
    Listener(part="galley", name="mcp", port=names.GALLEY_MCP),
    Listener(part="galley", name="rest", port=names.GALLEY_REST),
    Listener(part="galley", name="registration", port=names.GALLEY_REGISTRATION, public=True),
    Listener(part="mixer", name="grpc", port=names.MIXER_GRPC, public=True),
    Listener(part="mixer", name="check", port=names.MIXER_CHECK, public=True),
    Listener(part="mixer", name="metrics", port=names.MIXER_METRICS),
    Listener(part="pilot", name="xds", port=names.PILOT_XDS_TLS, public=True),
    Listener(part="pilot", name="debug", port=names.PILOT_DEBUG),
)

PUBLIC_PORTS: Final = tuple(listener.port for listener in LISTENERS if listener.public)


class Addresses:
    """Where each listener of the control plane is."""

    def __init__(self, interception: Interception, free_ports: Sequence[int] = ()) -> None:
        """In a hub of its own the control plane has Istio's ports; on the host's loopback it takes `free_ports`, one for each listener."""
        self._addresses: dict[tuple[str, str], str] = {}
        for number, listener in enumerate(LISTENERS):
            key = (listener.part, listener.name)
            if interception == "netns":
                self._addresses[key] = f"{HUB_ADDRESS if listener.public else '127.0.0.1'}:{listener.port}"
            else:
                self._addresses[key] = f"127.0.0.1:{free_ports[number]}"

    def __getitem__(self, listener: tuple[str, str]) -> str:
        """`host:port` of (part, listener)."""
        return self._addresses[listener]

    def items(self) -> list[tuple[str, str, str]]:
        """(part, listener, address) of all."""
        return [(part, name, address) for (part, name), address in self._addresses.items()]

    def for_agents(self) -> dict[str, list[str]]:
        """The addresses file that every agent follows."""
        return {
            names.XDS_CLUSTER: [self["pilot", "xds"]],
            names.CHECK_CLUSTER: [self["mixer", "check"]],
            names.REPORT_CLUSTER: [self["mixer", "grpc"]],
            "galley-registration": [self["galley", "registration"]],
        }
