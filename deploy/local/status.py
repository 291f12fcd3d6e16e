# SPDX-License-Identifier: Apache-2.0
"""`status.json`: what a running mesh says about itself, for `fourmast status` and for people's own scripts."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from deploy.local.control_plane import Part
    from deploy.local.mesh import LocalMesh
    from deploy.local.workloads import Workload

EVERY = 2.0  # seconds


@contextlib.asynccontextmanager
async def kept(mesh: LocalMesh, path: Path) -> AsyncIterator[None]:
    """Keep the file true while the block lasts."""
    written = _replace(path, "", await report(mesh))
    task = asyncio.create_task(_keep(mesh, path, written), name="status")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        path.unlink(missing_ok=True)  # noqa: ASYNC240 - one small file


async def report(mesh: LocalMesh) -> dict[str, Any]:
    """What runs where, and what is wrong with it (`problem`: null when nothing is)."""
    parts = await asyncio.gather(*(_part(mesh, part) for part in mesh.control_plane.parts.values()))
    workloads = await asyncio.gather(*(_workload(mesh, workload) for workload in mesh.workloads.values()))
    return {
        "name": mesh.name,
        "pid": os.getpid(),
        "mode": mesh.mode,
        "reason": mesh.reason,
        "controlPlane": mesh.shape,
        "stateDir": str(mesh.state_dir),
        "kubeconfig": str(mesh.kubeconfig),
        "parts": parts,
        "workloads": workloads,
    }


async def _part(mesh: LocalMesh, part: Part) -> dict[str, Any]:
    own = [(owner, listener) for owner, listener, _ in mesh.addresses.items() if part.name in (owner, "istiod")]
    listeners = {listener if part.name == owner else f"{owner}-{listener}": mesh.address(owner, listener) for owner, listener in own}
    problem, remark = await part.state()
    return {"name": part.name, "pid": part.pid, "problem": problem, "remark": remark, "listeners": listeners}


async def _workload(mesh: LocalMesh, workload: Workload) -> dict[str, Any]:
    spec = workload.instance.spec
    return {
        "name": workload.name,
        "namespace": spec.namespace,
        "kind": spec.type if spec.sidecar else "outside",
        "ip": workload.ip,
        "ports": spec.ports,
        "exposed": {port: address for (name, port), address in mesh.exposed_ports.items() if name == workload.name},
        "sidecarPid": workload.sidecar.pid if workload.sidecar else None,
        "applicationPid": workload.application.pid if workload.application else None,
        "problem": await workload.problem(),
    }


async def _keep(mesh: LocalMesh, path: Path, written: str) -> None:
    while True:
        await asyncio.sleep(EVERY)
        written = _replace(path, written, await report(mesh))


def _replace(path: Path, written: str, found: dict[str, Any]) -> str:
    text = json.dumps(found, indent=1)
    if text != written:
        temporary = path.with_suffix(".new")
        temporary.write_text(text)
        temporary.rename(path)
    return text
