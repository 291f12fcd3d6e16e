# SPDX-License-Identifier: Apache-2.0
"""Which interception this machine can do: found out by trying, because being root says little in a container."""

from __future__ import annotations

import socket
from typing import NamedTuple

from deploy.local.mesh_file import Mode
from deploy.local.network import Hub
from deploy.local.plan import Interception


class Found(NamedTuple):
    """The mode, and why, for people."""

    mode: Interception
    reason: str


def choose(wanted: Mode) -> Found:
    """Decide. Raises OSError when namespaces are asked for and cannot be made."""
    if wanted == "none":
        return Found("none", "asked for: loopback addresses, no interception; not a security boundary")
    problem = namespaces_problem()
    if problem is None:
        return Found("netns", "network namespaces with nftables interception")
    if wanted == "netns":
        raise OSError(f"mode netns was asked for, but {problem}; run as root, or choose mode none")
    return Found("none", f"loopback addresses, no interception, not a security boundary, because {problem}")


def namespaces_problem() -> str | None:
    """Why namespaces cannot be used here; None when they can. Makes a hub with a workload and its rules, and lets them go again."""
    try:
        hub = Hub([1])
        try:
            hub.attach(1, intercepted=True).close()
        finally:
            hub.close()
    except PermissionError as error:
        return f"network namespaces need root, or a user who may make them ({error})"
    except Exception as error:  # pyroute2 raises its own errors, and a missing kernel module shows as any of several
        return f"a scratch namespace could not be made ({error})"
    return None


def free_ports(count: int, host: str = "127.0.0.1") -> list[int]:
    """Ports nobody listens on now. Another process may take one before we do; the part that wants it then says so and ends."""
    held = []
    try:
        for _ in range(count):
            sock = socket.socket()
            held.append(sock)
            sock.bind((host, 0))
        return [sock.getsockname()[1] for sock in held]
    finally:
        for sock in held:
            sock.close()
