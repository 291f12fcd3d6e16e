# SPDX-License-Identifier: Apache-2.0
"""Pilot beside `sovereign`, the other control plane for Envoy in Python, on the same machine in the same run.

    python -m tests.benchmarks xds_sovereign [--quick]        # only when it is named: it installs sovereign from PyPI

Each figure is Pilot's; what stands as its limit is sovereign's. They do not do the same thing, and the figures say so: Pilot pushes deltas over
gRPC, sovereign is polled over HTTP with JSON and answers with the whole of a type. Whatever is a matter of taste is set in sovereign's favour:
templates in Python, orjson and httptools, no access log, the shortest interval at which it looks at its source, all endpoints in one poll (Envoy
makes one for each cluster), and resources of the leanest kind, where Pilot's carry mutual TLS, telemetry, Mixer and the proxy's inbound side.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable
from functools import partial
from statistics import median
from typing import NamedTuple

from tests.benchmarks.deadline import Deadline
from tests.benchmarks.figure import Figure
from tests.benchmarks.xds_clients.mesh import Mesh
from tests.benchmarks.xds_clients.messages import ENDPOINT
from tests.benchmarks.xds_clients.swarm import Identity, Swarm
from tests.benchmarks.xds_lab import Lab, pin_to_client_core
from tests.benchmarks.xds_sovereign_lab import POLL, REFRESH, TYPES, Crowd, NotInstalled, Server, Sovereign, installed

LONGEST = 150.0  # seconds for everything, the installation included
PATIENCE = 30.0  # seconds for any one step
PAUSE = 0.3  # seconds between changes of Pilot's, so that none waits for its interval
SETTLE = REFRESH + 0.5  # seconds after which sovereign has surely read its source


class Measured(NamedTuple):
    """Of one control plane: milliseconds to the last proxy, bytes to one proxy."""

    first_proxy_ms: float
    cold_start_ms: float
    change_ms: float
    serve_ms: float
    full_bytes: float
    change_bytes: float
    cpu_percent: float
    memory_mb: float


MEANING = {
    "first_proxy_ms": ("ms", "the first proxy of a server that has just started gets all four types"),
    "cold_start_ms": ("ms", "then the others connect at once and get all four types"),
    "change_ms": (
        "ms",
        "one endpoint gets another address: from the request to Galley, or from the write of sovereign's source, to the last proxy",
    ),
    "serve_ms": ("ms", "the same without waiting: from Pilot's receipt; all proxies poll sovereign at once after it has read its source"),
    "full_bytes": ("bytes", "the whole configuration for one proxy"),
    "change_bytes": ("bytes", "one endpoint's change for one proxy"),
    "cpu_percent": ("% of a core", "nothing changes and all proxies are connected"),
    "memory_mb": ("MB", "after all that; Pilot resident, sovereign's master and worker with what they share counted once"),
}


def pilot(mesh: Mesh, *, rounds: int, quiet: float) -> Measured:
    with Lab(mesh) as lab, lab.swarm(lab.pilot, tls=False) as swarm:
        identities = lab.identities(mesh.proxies, tls=False)
        first = _synced(swarm, identities[:1])
        full = swarm.received
        others = _synced(swarm, identities[1:])
        swarm.idle(1)
        before = swarm.received
        changes = [_change(lab, swarm, mesh) for _ in range(rounds)]
        told = (swarm.received - before) / rounds / mesh.proxies
        swarm.idle(1)
        used, began = lab.pilot.usage()["usage"]["cpu"], time.monotonic()
        swarm.idle(quiet)
        usage = lab.pilot.usage()["usage"]
        idle = 100 * (usage["cpu"] - used) / (time.monotonic() - began)
    whole, own = (median(part) for part in zip(*changes, strict=True))
    return Measured(first, others, whole, own, full, told, idle, usage["megabytes"])


def _synced(swarm: Swarm, identities: list[Identity]) -> float:
    began = time.monotonic()
    swarm.connect(identities)
    synced = swarm.until_synced(PATIENCE)
    if synced.missing:
        raise TimeoutError(f"{synced.missing} of {len(identities)} proxies did not get their configuration: {swarm.closed.most_common(3)}")
    return (synced.finished - began) * 1e3


def _change(lab: Lab, swarm: Swarm, mesh: Mesh) -> tuple[float, float]:
    """Milliseconds to the last acknowledgement, from the request and from Pilot's receipt."""
    document = mesh.endpoint(mesh.service(mesh.services - 1), 0, generation=lab.next_generation())
    wanted = document["spec"]["address"].encode()
    lab.pilot.heard()
    swarm.expect({ENDPOINT: lambda message: wanted in message})
    applied = lab.apply([document])
    met = swarm.until_met(PATIENCE)
    if met.missing:
        raise TimeoutError(f"{met.missing} of {mesh.proxies} proxies did not get the change")
    began = applied.result()
    received = min((said["received"] for said in lab.pilot.heard() if "received" in said), default=began)
    swarm.idle(PAUSE)
    return (met.finished - began) * 1e3, (met.finished - received) * 1e3


async def sovereign(installation: Sovereign, mesh: Mesh, *, rounds: int, quiet: float) -> tuple[Measured, float]:
    """Also the polls a second that were answered while nothing changed."""
    with Server(installation, mesh) as server, Crowd(mesh, server.address) as crowd:
        await server.until_ready()
        first = await _timed(crowd.ask(*TYPES, of=slice(1)))
        full = crowd.received
        others = await _timed(crowd.ask(*TYPES, of=slice(1, None)))
        before = crowd.received
        serves = [await _serve(server, crowd, generation) for generation in range(1, rounds + 1)]
        told = (crowd.received - before) / rounds / mesh.proxies
        async with crowd.polling():
            changes = [await _polled(server, crowd, generation) for generation in range(rounds + 1, 2 * rounds + 1)]
            used, polls, began = server.cpu(), crowd.polls, time.monotonic()
            await asyncio.sleep(quiet)
            took = time.monotonic() - began
            idle, rate = 100 * (server.cpu() - used) / took, (crowd.polls - polls) / took
        memory = server.megabytes()
    return Measured(first, others, median(changes), median(serves), full, told, idle, memory), rate


async def _timed(work: Awaitable[object]) -> float:
    began = time.monotonic()
    async with asyncio.timeout(PATIENCE):
        await work
    return (time.monotonic() - began) * 1e3


async def _serve(server: Server, crowd: Crowd, generation: int) -> float:
    """All ask at once for a change that the server has read already."""
    wanted = server.change(generation)
    await asyncio.sleep(SETTLE)
    began = time.monotonic()
    async with asyncio.timeout(PATIENCE):
        answers = await crowd.ask("endpoints")
    finished = time.monotonic()
    if not all(wanted in answer for (answer,) in answers):
        raise RuntimeError("sovereign has not read its source in time")
    return (finished - began) * 1e3


async def _polled(server: Server, crowd: Crowd, generation: int) -> float:
    """Make a change at any moment, and wait until all have polled it."""
    await asyncio.sleep(2 * POLL + random.uniform(0, REFRESH))
    wanted = server.change(generation)
    return await _timed(crowd.until_all_have(wanted))


def compare(installation: Sovereign, mesh: Mesh, *, rounds: int, quick: bool) -> None:
    """Every figure of one mesh."""
    quiet = 1.0 if quick else 4.0
    ours = pilot(mesh, rounds=rounds, quiet=quiet)
    theirs, polls = asyncio.run(sovereign(installation, mesh, rounds=rounds, quiet=quiet))
    conditions = (
        f"{mesh.services} services x {mesh.endpoints} endpoints, {mesh.proxies} proxies, plaintext{', QUICK' if quick else ''}; "
        f"value: Pilot, delta ADS over gRPC, pushed; limit: sovereign {installation.version}, whole types as JSON over HTTP/1.1, "
        f"polled every {POLL:g} to {2 * POLL:g} s, source read every {REFRESH} s; each alone on its core; median of {rounds}"
    )
    for name, (unit, meaning) in MEANING.items():
        more = (
            f"; {polls:.0f} polls a second answered of {mesh.proxies * len(TYPES) / POLL / 1.5:.0f} wanted" if name == "cpu_percent" else ""
        )
        figure = Figure(
            f"xds_sovereign.{name}.{mesh.services}", getattr(ours, name), unit, getattr(theirs, name), f"{meaning}; {conditions}{more}"
        )
        figure.say()


def main(quick: bool = False) -> None:
    """100 and 1,000 services, if sovereign can be had."""
    pin_to_client_core()
    deadline = Deadline(LONGEST)
    try:
        with installed() as installation:
            for services, rounds in ((20, 1),) if quick else ((100, 3), (1000, 2)):
                mesh = Mesh(services=services, proxies=5 if quick else 50, classes=({"version": "v1"},))
                deadline.run(f"{services} services", partial(compare, installation, mesh, rounds=rounds, quick=quick), seconds=LONGEST)
    except NotInstalled as reason:
        print(f"not measured: sovereign cannot be installed: {reason}", flush=True)
        return
    deadline.close()


if __name__ == "__main__":
    main()
