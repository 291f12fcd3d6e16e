# SPDX-License-Identifier: Apache-2.0
"""Where the processes of a mesh run, in either mode: which namespace, which user, which view of the file system, which environment."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from common.mesh import names
from deploy.local.hosts import HostsFiles
from deploy.local.namespaces import NetworkNamespace
from deploy.local.network import Hub
from deploy.local.plan import Instance
from deploy.local.processes import Place, installation


class Places(Protocol):
    """The differences between the modes."""

    proxy_uid: int | None
    """The user of sidecars; None: the launcher's."""

    def control_plane(self) -> Place: ...

    def sidecar(self, instance: Instance, folder: Path, shared: Path) -> Place: ...

    def application(self, instance: Instance) -> Place: ...

    def new_socket(self) -> socket.socket:
        """A TCP socket from which the control plane and every workload can be reached."""


class OnLoopback:
    """None mode: everything is a process of the launcher's user on the host's loopback."""

    proxy_uid: int | None = None

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def control_plane(self) -> Place:
        return Place(environment=base_environment())

    def sidecar(self, instance: Instance, folder: Path, shared: Path) -> Place:
        return Place(environment=base_environment())

    def application(self, instance: Instance) -> Place:
        return Place(folder=str(self._folder), environment=base_environment() | instance.environment())

    def new_socket(self) -> socket.socket:
        return socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)


class InNamespaces:
    """Netns mode: the control plane in the hub, each workload in a namespace of its own with users that can do nothing else."""

    proxy_uid: int | None = names.PROXY_UID

    def __init__(self, hub: Hub, workloads: Mapping[str, NetworkNamespace], hosts: HostsFiles, *, folder: Path, state_dir: Path) -> None:
        self._hub = hub
        self._workloads = workloads
        self._hosts = hosts
        self._folder = folder
        self._state_dir = state_dir

    def control_plane(self) -> Place:
        return Place(network=self._hub.namespace.path, environment=base_environment())

    def sidecar(self, instance: Instance, folder: Path, shared: Path) -> Place:
        return Place(
            network=self._workloads[instance.name].path,
            mounts=True,
            hide=("/run",),
            keep=(*installation(), str(folder), str(shared)),
            uid=self.proxy_uid,
            gid=self.proxy_uid,
            environment=base_environment(),
        )

    def application(self, instance: Instance) -> Place:
        return Place(
            network=self._workloads[instance.name].path,
            mounts=True,
            hide=("/run", str(self._state_dir)),
            keep=(*installation(), str(self._folder)),
            binds={"/etc/hosts": str(self._hosts.path(instance.spec.namespace)), "/etc/resolv.conf": str(self._hosts.resolver)},
            uid=instance.uid,
            gid=instance.uid,
            folder=str(self._folder),
            environment=base_environment() | instance.environment(),
        )

    def new_socket(self) -> socket.socket:
        return self._hub.namespace.socket()


def base_environment() -> dict[str, str]:
    """Nothing of the launcher's environment but what programs need to run: it may hold secrets."""
    path = os.pathsep.join((str(Path(sys.executable).parent), "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"))
    return {"PATH": path, "LANG": "C.UTF-8", "HOME": "/tmp", "PYTHONUNBUFFERED": "1"}  # noqa: S108 - a home nobody relies on
