# SPDX-License-Identifier: Apache-2.0
"""Rows about identity, mutual TLS and refused configuration: Citadel's and Galley's work."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from importlib import resources
from typing import Any

from common.mesh.names import TRUST_DOMAIN
from deploy.local.demo.foreign import foreign_root
from deploy.local.demo.row import Observation, Row
from deploy.local.demo.traffic import ALL_V1
from deploy.local.demo.world import World, until
from deploy.local.workloads import Workload

PERMISSIVE = "demo/config/permissive.yaml"
BROKEN, MENDED = "demo/config/broken-virtual-service.yaml", "bookinfo/config/virtual-service-reviews-v3.yaml"
BROKEN_LINE = 9  # where `prefx` stands in the broken file
REFUSALS = r"^listener\..*(no_filter_chain_match|ssl\.connection_error)$"


async def certificates(world: World) -> Observation:
    """A real handshake with each sidecar, verified against Citadel's root; sabotage verifies against the root of another authority."""
    roots = foreign_root() if world.sabotaged else world.mesh.control_plane.roots.read_text()
    targets = [w for w in world.mesh.workloads.values() if w.instance.spec.sidecar and w.instance.spec.ports]

    async def look(workload: Workload) -> str:
        spec = workload.instance.spec
        command = ["python", "-m", "deploy.samples.peer", f"{workload.ip}:{next(iter(spec.ports.values()))}", "--roots", roots]
        _, output = await world.mesh.exec("legacy", command)
        seen = json.loads(output)
        expected = f"spiffe://{TRUST_DOMAIN}/ns/{spec.namespace}/sa/{spec.serviceAccount}"
        return "" if seen["verified"] and seen["uris"] == [expected] else f"{workload.name}: {seen['uris'] or seen['error']}"

    problems = [problem for problem in await asyncio.gather(*map(look, targets)) if problem]
    good = len(targets) - len(problems)
    return Observation(not problems and good > 0, f"{good} of {len(targets)} sidecars verified" + (f"; {problems[0]}" if problems else ""))


async def plaintext(world: World) -> Observation:
    """The client outside the mesh gets through while PERMISSIVE (so the path works), and no more under STRICT."""
    target = world.mesh.workload("details-v1")
    url = f"http://{target.ip}:9080/details/0"

    async def from_outside() -> str:
        summary = await world.send("legacy", url, "--direct", "-t", "3")
        return str(next(iter(summary["codes"])))

    async def open_to_all() -> bool:
        return await from_outside() == "200"

    async def closed() -> bool:
        return await from_outside() == "error"

    await world.configure((PERMISSIVE,))
    control = await until(open_to_all, within=20)
    if not world.sabotaged:
        await world.configure(())
    await until(closed, within=1 if world.sabotaged else world.settle)
    before = sum((await world.envoy_stats(target.name, REFUSALS)).values())
    summary = await world.send("legacy", url, "--direct", "-n", "5", "-t", "3")
    refused = summary["codes"].get("error", 0)
    grown = sum((await world.envoy_stats(target.name, REFUSALS)).values()) - before
    inside = (await world.send("sleep", "http://details:9080/details/0", "-n", "5"))["codes"].get("200", 0)
    ok = control and refused == 5 and grown >= 5 and inside == 5
    text = f"PERMISSIVE {'200' if control else 'no answer'}; STRICT {refused} of 5 refused, Envoy counted {grown}; inside the mesh {inside} x 200"
    if world.mesh.mode != "netns":
        text += "; not provable here: without namespaces the application's own port stays reachable"
    return Observation(ok, text)


async def broken_configuration(world: World) -> Observation:
    """Through the command line, as a user would: refused with file and line, and nothing changes."""

    async def plain() -> bool:
        return all([(page := await world.page()).status == 200 and page.black_stars + page.red_stars == 0 for _ in range(6)])

    async def stored() -> dict[str, Any]:
        """What was applied; the status beside it goes on being written while proxies confirm the rule before."""
        text = await world.mesh.galley.get_text("networking.istio.io/v1alpha3", "virtualservices", "default", "reviews")
        found: dict[str, Any] = json.loads(text)
        return {"generation": found["metadata"]["generation"], "spec": found["spec"]}

    await until(plain, within=world.settle)
    before = await stored()
    file = MENDED if world.sabotaged else BROKEN
    with resources.as_file(resources.files("deploy.samples").joinpath(file)) as path:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "deploy.cli.main", "apply", "-f", str(path)),
            env={**os.environ, "FOURMAST_KUBECONFIG": str(world.mesh.kubeconfig)},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output = (await process.communicate())[0].decode()
    unchanged = await stored() == before and await plain()
    named = f"{path.name}:{BROKEN_LINE}" in output and "did you mean 'prefix'" in output
    place = f"{path.name}:{BROKEN_LINE}" if f"{path.name}:{BROKEN_LINE}" in output else "no file and line"
    said = next((line.strip() for line in output.splitlines() if "prefx: " in line), output[-100:].strip())
    ok = process.returncode not in (0, None) and named and unchanged
    return Observation(ok, f"exit {process.returncode}, {place}: {said}; traffic {'unchanged' if unchanged else 'CHANGED'}")


ROWS = (
    Row("certificates", "Every sidecar's certificate", "issued by our CA, with its own SPIFFE id", (), (), certificates),
    Row("plaintext", "Plaintext from outside under STRICT mTLS", "refused, and counted by Envoy", (), (), plaintext),
    Row("broken", "A broken VirtualService", "refused with file:line, traffic unchanged", (ALL_V1,), (), broken_configuration),
)
