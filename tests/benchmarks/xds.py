# SPDX-License-Identifier: Apache-2.0
"""How fast configuration reaches a thousand proxies, and what that costs.

    python -m tests.benchmarks xds [--quick]

Galley and Pilot run as processes of their own, Pilot alone on its core. A time runs from the beginning of the request to Galley (so its
validation, its store and MCP are inside), or, in figures that say so, from Pilot's receipt, to the moment when the last simulated proxy has
sent its acknowledgement. The limit of each is a grpc.aio server that knows nothing and sends the same bytes to as many streams, run between.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from statistics import median
from typing import Any, NamedTuple

from google.protobuf.duration_pb2 import Duration

from common.mesh.names import ROOT_NAMESPACE
from tests.benchmarks.deadline import Deadline
from tests.benchmarks.figure import Figure
from tests.benchmarks.xds_clients.mesh import Document, Mesh, marker
from tests.benchmarks.xds_clients.messages import CLUSTER, ENDPOINT, LISTENER, ROUTE, SHORT, VIRTUAL_HOST, field
from tests.benchmarks.xds_clients.swarm import Swarm, Test
from tests.benchmarks.xds_envoy import envoy_times
from tests.benchmarks.xds_lab import AS_THE_AGENT, Lab, Process, pin_to_client_core
from tests.benchmarks.xds_storm import storm

PATIENCE = 60.0  # seconds for any one change
LONGEST = 470.0  # seconds for the whole table
PAUSE = 0.3  # seconds between changes, so that none waits for Pilot's interval


class Times(NamedTuple):
    """Milliseconds to the last acknowledgement."""

    from_request: float
    from_receipt: float


class Case(NamedTuple):
    """A kind of change: what to apply for a generation, and how each type shows that it came."""

    name: str
    documents: Callable[[int], Sequence[Document]]
    signs: Callable[[int], Mapping[str, Test]]


def _contains(text: bytes) -> Test:
    return lambda message: text in message


def route_type(samples: Mapping[str, bytes]) -> str:
    """The type in which a changed route comes."""
    return VIRTUAL_HOST if VIRTUAL_HOST in samples else ROUTE


def cases(mesh: Mesh, samples: Mapping[str, bytes]) -> dict[str, Case]:
    service = mesh.service((mesh.namespaces - 1) % mesh.services)  # every namespace sees it in a scoped mesh, too
    routes = route_type(samples)
    most_endpoints, most_routes = len(samples[ENDPOINT]) // 2, len(samples[routes]) // 2

    def mesh_config(generation: int) -> Document:
        spec = {
            "connectTimeout": f"{generation + 1}.25s",
            "accessLogFile": f"/dev/{marker(generation)}",
            "outboundTrafficPolicy": {"mode": ("ALLOW_ANY", "REGISTRY_ONLY")[generation % 2]},
        }
        metadata = {"name": "default", "namespace": ROOT_NAMESPACE}
        return {"apiVersion": "mesh.istio.io/v1alpha1", "kind": "MeshConfig", "metadata": metadata, "spec": spec}

    def everything(generation: int) -> Mapping[str, Test]:
        return {
            CLUSTER: _contains(Duration(seconds=generation + 1, nanos=250_000_000).SerializeToString()),
            ENDPOINT: lambda message: len(message) > most_endpoints,
            LISTENER: _contains(marker(generation).encode()),
            routes: lambda message: len(message) > most_routes and marker(generation).encode() in message,
        }

    def endpoint(generation: int) -> Document:
        return mesh.endpoint(service, 0, generation=generation)

    return {
        "endpoint_change": Case(
            "endpoint_change", lambda g: [endpoint(g)], lambda g: {ENDPOINT: _contains(endpoint(g)["spec"]["address"].encode())}
        ),
        "route_change": Case("route_change", lambda g: [mesh.route(service, g)], lambda g: {routes: _contains(marker(g).encode())}),
        "full_push": Case("full_push", lambda g: [mesh_config(g), mesh.route_for_all(service, g)], everything),
    }


def change(lab: Lab, swarm: Swarm, case: Case) -> Times:
    """Make one change and wait until every proxy has acknowledged it."""
    generation = lab.next_generation()
    lab.pilot.heard()
    swarm.expect(case.signs(generation))
    applied = lab.apply(case.documents(generation))
    met = swarm.until_met(PATIENCE)
    if met.missing:
        raise TimeoutError(
            f"{case.name}: {met.missing} of {len(swarm.clients)} proxies did not get it; closed: {swarm.closed.most_common(3)}"
        )
    began = applied.result()
    received = min((said["received"] for said in lab.pilot.heard() if "received" in said), default=began)
    swarm.idle(PAUSE)
    return Times((met.finished - began) * 1e3, (met.finished - received) * 1e3)


class Raw:
    """The limit: the same bytes to as many streams by a server that does nothing else."""

    def __init__(self, process: Process, swarm: Swarm) -> None:
        self._process, self._swarm = process, swarm

    def send(self, *types: str) -> float:
        """Milliseconds until all have acknowledged one message of each type."""
        self._swarm.expect({type_url: lambda message: True for type_url in types})
        self._process.order(send=[SHORT[type_url] for type_url in types])
        met = self._swarm.until_met(PATIENCE)
        sent = self._process.wait("sent")["sent"]
        if met.missing:
            raise TimeoutError(f"the raw server did not reach {met.missing} streams")
        self._swarm.idle(PAUSE / 2)
        return (met.finished - float(sent)) * 1e3


@contextlib.contextmanager
def raw_server(lab: Lab, samples: Mapping[str, bytes], proxies: int, *, tls: bool) -> Iterator[tuple[Raw, float]]:
    """With as many streams open, and how many seconds it took to open them and to send each one message of each type."""
    with lab.raw({SHORT[type_url]: message for type_url, message in samples.items()}) as process, lab.swarm(process, tls=tls) as swarm:
        identities = lab.identities(proxies, tls=tls)
        began = time.monotonic()
        swarm.connect(identities)
        while process.usage()["streams"] < proxies:
            swarm.idle(0.02)
        raw = Raw(process, swarm)
        raw.send(*samples)
        yield raw, swarm.last - began


def measure(mesh: Mesh, *, tls: bool, quick: bool, whole: bool) -> dict[str, float]:
    """Every figure of one mesh, printed as it is known; `whole` adds the storm, idleness and memory."""
    rounds = 3 if quick else 7
    shape = f"scoped to {mesh.visible} services" if mesh.visible else "flat"
    ports = f"{len(mesh.ports)} port{'s' if len(mesh.ports) > 1 else ''}"
    discovers = bool(mesh.metadata.get("VIRTUAL_HOST_DISCOVERY"))
    variant = "delta with VHDS" if discovers else "delta"
    conditions = (
        f"{mesh.services} services x {mesh.endpoints} endpoints on {ports} in {mesh.namespaces} namespaces, {mesh.proxies} proxies, "
        f"{shape}, {variant}, {'mTLS' if tls else 'plaintext'}{', QUICK' if quick else ''}"
    )
    suffix = ("" if tls else ".plaintext") + (".scoped" if mesh.visible else "") + ("" if discovers else ".rds")
    values: dict[str, float] = {}

    def say(name: str, value: float, unit: str, limit: float | None, more: str = "") -> None:
        values[name] = value
        Figure(f"xds.{name}{suffix}", value, unit, limit, f"{conditions}{more}").say()

    with Lab(mesh) as lab, lab.swarm(lab.pilot, tls=tls) as swarm:
        identities = lab.identities(mesh.proxies, tls=tls)
        began = time.monotonic()
        swarm.connect(identities)
        synced = swarm.until_synced(2 * PATIENCE)
        if synced.missing:
            raise TimeoutError(f"{synced.missing} of {mesh.proxies} proxies did not get their configuration: {swarm.closed.most_common(3)}")
        cold = (synced.finished - began) * 1e3
        swarm.idle(1)
        peak = lab.pilot.usage()["usage"]["megabytes"]
        known = cases(mesh, swarm.samples)
        samples = {type_url: swarm.samples[type_url] for type_url in SHORT if type_url in swarm.samples}
        routes = route_type(samples)
        changed = {}
        found = {}
        for name, case in known.items():
            count = max(2, rounds // 3) if name == "full_push" else rounds
            found[name] = [change(lab, swarm, case) for _ in range(count)]
            changed[name] = dict(swarm.samples)
        if whole:
            say("idle_cpu_percent", idle_cpu(lab, swarm, 3 if quick else 10), "% of a core", None)
            memory = lab.pilot.usage()["usage"]["megabytes"]
            say("memory_mb", memory, "MB resident", None, f"; after all changes and some quiet; {peak:.0f} MB just after the cold start")
            most, right = storm(lab, swarm, seconds=2 if quick else 10, changes=1000)
            say("storm", most, "pushes/s/proxy/type", 10.0, f"; 1,000 changes a second; final state of all {'right' if right else 'WRONG'}")
        swarm.disconnect()
        with raw_server(lab, samples, mesh.proxies, tls=tls) as (raw, raw_cold):
            everything = median([raw.send(*cases(mesh, samples)["full_push"].signs(0)) for _ in range(2)])
        one = {**samples, ENDPOINT: changed["endpoint_change"][ENDPOINT], routes: changed["route_change"][routes]}
        with raw_server(lab, one, mesh.proxies, tls=tls) as (raw, _):
            limits = {
                "endpoint_change": median([raw.send(ENDPOINT) for _ in range(rounds)]),
                "route_change": median([raw.send(routes) for _ in range(rounds)]),
                "full_push": everything,
            }
        sizes = ", ".join(f"{SHORT[type_url]} {len(message) / 1e3:.0f}" for type_url, message in samples.items())
        for name, times in found.items():
            whole_time, own = (median(part) for part in zip(*times, strict=True))
            spread = f"; median of {len(times)}, {min(t[0] for t in times):.0f} to {max(t[0] for t in times):.0f}"
            say(f"{name}_ms", whole_time, "ms", limits[name], f"{spread}; from Pilot's receipt {own:.0f} ms")
            if name == "endpoint_change":
                say("ratio_to_raw", own / limits[name], "x", 1.0, "; endpoint change from Pilot's receipt, against raw grpc.aio")
        say("cold_start_ms", cold, "ms", raw_cold * 1e3, f"; kB for each proxy: {sizes}")
    return values


def reconnect_storm(mesh: Mesh) -> Figure:
    """All proxies lose their connections and are back at once, each with an account of what it holds; till all types are answered."""
    with Lab(mesh) as lab:
        with lab.swarm(lab.pilot, tls=False) as swarm:
            swarm.remembers = True
            swarm.connect(lab.identities(mesh.proxies, tls=False))
            if missing := swarm.until_synced(2 * PATIENCE).missing:
                raise TimeoutError(f"{missing} of {mesh.proxies} proxies did not get their configuration: {swarm.closed.most_common(3)}")
            swarm.idle(PAUSE)
            received = swarm.received
            began = time.monotonic()
            swarm.reconnect()
            types = tuple(swarm.samples)
            swarm.expect({type_url: lambda message: True for type_url in types})
            met = swarm.until_met(PATIENCE)
            took, resets, told = met.finished - began, swarm.closed.total(), swarm.received
        if met.missing or resets:
            raise TimeoutError(f"{met.missing} of {mesh.proxies} proxies were not served, {resets} were reset")
        empty = {type_url: field(4, type_url.encode()) + field(5, b"1") for type_url in types}
        with raw_server(lab, empty, mesh.proxies, tls=False) as (_, limit):
            pass
    conditions = (
        f"{mesh.proxies} proxies, {mesh.services} services, flat, delta, plaintext; all answered, none reset; "
        f"{told / 1e6:.1f} MB sent against {received / 1e6:.0f} MB at first; at most 500 new streams a second by Pilot's default"
    )
    return Figure("xds.reconnect_storm", took, "s", limit, conditions).say()


def idle_cpu(lab: Lab, swarm: Swarm, seconds: float) -> float:
    """Percent of a core. What the last changes left to do (reports, spans, giving memory back) is done within five seconds."""
    swarm.idle(5)
    before = lab.pilot.usage()["usage"]["cpu"]
    began = time.monotonic()
    swarm.idle(seconds)
    return 100 * float(lab.pilot.usage()["usage"]["cpu"] - before) / (time.monotonic() - began)


def envoy(mesh: Mesh, *, rounds: int) -> None:
    with Lab(mesh) as lab:
        for name, (times, limit) in envoy_times(lab, rounds=rounds).items():
            ordered = sorted(times)
            p99 = ordered[math.ceil(len(ordered) * 0.99) - 1]
            told = f"one Envoy 1.40, {mesh.services} services x {mesh.endpoints} endpoints, plaintext, receipt to ACK; {len(times)} changes"
            Figure(f"xds.{name}_p99_ms", p99, "ms", limit, f"{told}, median {median(ordered):.1f} ms").say()


def main(quick: bool = False, **numbers: Any) -> None:
    """The table: mTLS first, plaintext and the scoped mesh beside it, then the storm of reconnects and one real Envoy."""
    pin_to_client_core()
    size = {"metadata": AS_THE_AGENT, **({"services": 100, "proxies": 100} if quick else {}), **numbers}
    mesh, inline, scoped, crowd = (
        Mesh(**size),
        Mesh(**{**size, "metadata": {**AS_THE_AGENT, "VIRTUAL_HOST_DISCOVERY": ""}}),
        Mesh(**{**size, "visible": 60}),
        Mesh(**{**size, "services": 100, "proxies": 200 if quick else 2000}),
    )
    deadline = Deadline(LONGEST)
    deadline.run("mTLS", lambda: measure(mesh, tls=True, quick=quick, whole=True), seconds=240)
    deadline.run("one Envoy", lambda: envoy(mesh, rounds=20 if quick else 200), seconds=120)
    deadline.run("reconnect storm", lambda: reconnect_storm(crowd), seconds=90)
    deadline.run("scoped", lambda: measure(scoped, tls=True, quick=True, whole=False), seconds=120)
    deadline.run("plaintext", lambda: measure(mesh, tls=False, quick=True, whole=False), seconds=120)
    deadline.run("without VHDS", lambda: measure(inline, tls=True, quick=True, whole=False), seconds=120)
    deadline.close()


if __name__ == "__main__":
    main()
