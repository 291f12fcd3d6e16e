# SPDX-License-Identifier: Apache-2.0
"""Where parts other than Galley listen: as the user says, as the launcher of a local mesh wrote beside the kubeconfig, or on their usual ports."""

from __future__ import annotations

import json
import os
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from common.mesh import names
from common.mesh.names import control_plane_dns_name
from deploy.cli.connection import Connection, connect, find_kubeconfig
from deploy.cli.errors import CliError

STATUS_FILE = "status.json"


def read_status(kubeconfig: Path) -> dict[str, Any]:
    """`status.json` of the launcher that wrote this kubeconfig. Raises CliError."""
    path = kubeconfig.parent / STATUS_FILE
    try:
        found: dict[str, Any] = json.loads(path.read_text())
    except FileNotFoundError:
        raise CliError(f"there is no {path} yet: the mesh is still starting, or none runs from there") from None
    except (OSError, ValueError) as error:
        raise CliError(f"cannot read {path}: {error}") from error
    if not _lives(found["pid"]):
        raise CliError(f"mesh {found['name']} does not run any more: its launcher {found['pid']} was killed, and what it started with it")
    return found


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        return True
    return True


def connect_to_citadel(kubeconfig: str | None, server: str | None) -> Connection:
    """Open a connection to Citadel's admin interface, at `server` (host:port) when that is given. Raises CliError."""
    address = server or _address("citadel", "admin", find_kubeconfig(kubeconfig))
    return connect(kubeconfig, server=f"https://{address}", server_name=control_plane_dns_name("citadel"))


def connect_to_pilot(kubeconfig: str | None, server: str | None) -> Connection:
    """Open a connection to Pilot's debug pages. They are plain HTTP, so the token goes to this machine only. Raises CliError."""
    address = server or _address("pilot", "debug", find_kubeconfig(kubeconfig))
    host = address.rpartition(":")[0].strip("[]")
    if host != "localhost" and not (_is_ip(host) and ip_address(host).is_loopback):
        raise CliError(
            f"Pilot's debug pages are plain HTTP, and {host} is another machine: tunnel its port to 127.0.0.1 and give that with --server"
        )
    return connect(kubeconfig, server=f"http://{address}")


def _is_ip(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


USUAL = {("citadel", "admin"): names.CITADEL_ADMIN, ("pilot", "debug"): names.PILOT_DEBUG}


def _address(part: str, listener: str, kubeconfig: Path) -> str:
    if not (kubeconfig.parent / STATUS_FILE).exists():
        return f"127.0.0.1:{USUAL[part, listener]}"  # parts that were started by hand
    for running in read_status(kubeconfig)["parts"]:
        listeners: dict[str, str] = running["listeners"]
        found = listeners.get(listener) if running["name"] == part else listeners.get(f"{part}-{listener}")
        if found is not None:
            return found
    raise CliError(f"this mesh says nothing about {part}'s {listener} address; give it with --server")
