# SPDX-License-Identifier: Apache-2.0
"""Pilot beside Istio's own istiod, with the same mesh and the same simulated proxies on the same cores, one after the other.

    python -m tests.benchmarks xds_istio --binary PATH [--proxies 200] [--services 1000] [--quick]    # only when it is named

Three rows of figures: istiod as its proxies use it (`.istiod`), Pilot as Fourmast's use it, with discovered virtual hosts (`.pilot`), and Pilot
with whole route configurations as istiod has them (`.pilot-rds`). The limit of Pilot's is istiod's. All speak delta ADS in plaintext. A time
runs from the control plane's receipt to the last acknowledgement: what Galley does is not in it, nor istiod's wait before it reads its files.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path
from statistics import median
from typing import NamedTuple, Protocol

from tests.benchmarks.deadline import Deadline
from tests.benchmarks.figure import Figure
from tests.benchmarks.xds import Case, cases
from tests.benchmarks.xds_clients.mesh import Document, Mesh
from tests.benchmarks.xds_clients.messages import ENDPOINT, ROUTE, SHORT
from tests.benchmarks.xds_clients.swarm import Expectation, Identity, Swarm
from tests.benchmarks.xds_istio_lab import CONDITIONS, Istiod, node, version
from tests.benchmarks.xds_lab import AS_THE_AGENT, Lab, pin_to_client_core

PATIENCE = 60.0  # seconds for any one change, or for a batch of new proxies
LONGEST = 2400.0  # seconds for everything
PAUSE = 1.0  # seconds after a change, whose work counts as the change's
QUIET = 8.0  # seconds before memory is read
ROUNDS = {"endpoint_change": 7, "route_change": 7, "full_push": 3}
CROWD, BATCH = 250, 50
"""More proxies than that connect to istiod in batches: all at once, on one core, it starved its keepalives and reset half of a thousand."""
MODULE, KNOWN = "istio.io/istio/pilot/cmd/pilot-discovery", "v0.0.0-20260827124520-eed52ebb66ad"
NEEDS = (
    f"xds_istio needs Istio's pilot-discovery (--binary PATH), which Go builds from its module: `go mod init lab && go get {MODULE}@{KNOWN} && "
    f"go build {MODULE}` in an empty folder"
)


class ControlPlane(Protocol):
    """What is asked of either."""

    def apply(self, changed: Sequence[Document], /) -> None: ...

    def received(self) -> float:
        """When it had what was applied last, by the monotonic clock."""

    def cpu(self) -> float:
        """Seconds so far."""

    def megabytes(self) -> float: ...


class Pilot:
    """The lab's Pilot as such; Galley is not counted."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._applied: Future[float] | None = None

    def apply(self, changed: Sequence[Document], /) -> None:
        self._lab.pilot.heard()
        self._applied = self._lab.apply(changed)

    def received(self) -> float:
        assert self._applied is not None
        self._applied.result()
        return min(float(said["received"]) for said in self._lab.pilot.heard() if "received" in said)

    def cpu(self) -> float:
        return float(self._lab.pilot.usage()["usage"]["cpu"])

    def megabytes(self) -> float:
        return float(self._lab.pilot.usage()["usage"]["megabytes"])


class Row:
    """One control plane's figures, each printed as it is known."""

    def __init__(self, name: str, conditions: str, limits: Row | None = None) -> None:
        self._name, self._conditions, self._limits = name, conditions, limits
        self.values: dict[str, float] = {}

    def say(self, name: str, value: float, unit: str, more: str = "") -> None:
        self.values[name] = value
        limit = self._limits.values.get(name) if self._limits is not None else None
        Figure(f"xds_istio.{name}.{self._name}", value, unit, limit, self._conditions + more).say()


class Round(NamedTuple):
    milliseconds: float
    cpu: float
    missing: int


def measure(plane: ControlPlane, swarm: Swarm, identities: Sequence[Identity], mesh: Mesh, row: Row, *, batch: int, quick: bool) -> None:
    began, used = time.monotonic(), plane.cpu()
    missing = connect(swarm, identities, batch)
    finished = swarm.last
    swarm.idle(PAUSE)
    how = "all at once" if batch >= len(identities) else f"in batches of {batch}"
    reset = f"; {swarm.closed.total()} were reset" if swarm.closed else ""
    row.say("cold_start_ms", (finished - began) * 1e3, "ms", f"; {how}{_told([missing])}{reset}")
    row.say("cold_start_cpu", plane.cpu() - used, "s of CPU")
    for type_url, message in swarm.samples.items():
        row.say(f"{SHORT[type_url]}_bytes", len(message), "bytes", "; the whole type for one proxy")
    generation = 0
    for name, case in cases(mesh, swarm.samples).items():
        rounds = []
        for _ in range(min(2, ROUNDS[name]) if quick else ROUNDS[name]):
            generation += 1
            rounds.append(change(plane, swarm, case, generation))
        times = [one.milliseconds for one in rounds]
        spread = f"; from receipt, median of {len(rounds)}, {min(times):.0f} to {max(times):.0f}"
        row.say(f"{name}_ms", median(times), "ms", spread + _told([one.missing for one in rounds]))
        row.say(f"{name}_cpu", median(one.cpu for one in rounds), "s of CPU", f"; median of {len(rounds)}")
    swarm.idle(1.0 if quick else QUIET)
    row.say("memory_mb", plane.megabytes(), "MB resident", "; all connected, after the changes and some quiet")


def _told(missing: Sequence[int]) -> str:
    return f"; missing after {PATIENCE:g} s: {', '.join(map(str, missing))} proxies" if any(missing) else ""


def connect(swarm: Swarm, identities: Sequence[Identity], batch: int) -> int:
    """Each batch when the one before is done or has had its time; returns how many proxies have not got everything."""
    for start in range(0, len(identities), batch):
        swarm.connect(identities[start : start + batch])
        deadline = time.monotonic() + PATIENCE
        while not all(client.synced for client in swarm.clients[start:]) and not _out_of(swarm, deadline):
            swarm.until_synced(0.5)
    return sum(not client.synced for client in swarm.clients)


def change(plane: ControlPlane, swarm: Swarm, case: Case, generation: int) -> Round:
    """One change, until every proxy has acknowledged it or there is no more patience, as which it then counts. Who was reset before is missing,
    and does not make it longer.
    """
    gone, used = swarm.closed.total(), plane.cpu()
    swarm.expect(case.signs(generation))
    plane.apply(case.documents(generation))
    met = _until_met(swarm, gone)
    took = met.finished - plane.received() if met.missing <= gone else PATIENCE
    if met.missing > gone:
        _until_met(swarm, gone)  # what is late may not burden the next change
    swarm.idle(PAUSE)
    return Round(took * 1e3, plane.cpu() - used, met.missing)


def _until_met(swarm: Swarm, gone: int) -> Expectation:
    """Not longer than it takes those who were still connected when the change was made."""
    deadline = time.monotonic() + PATIENCE
    while True:
        met = swarm.until_met(0.5)
        if met.missing <= gone or _out_of(swarm, deadline):
            return met


def _out_of(swarm: Swarm, deadline: float) -> bool:
    """Patience, or anybody to wait for."""
    return time.monotonic() > deadline or swarm.closed.total() == len(swarm.clients)


def istiod(binary: Path, mesh: Mesh, row: Row, *, quick: bool) -> None:
    changing = cases(mesh, {ENDPOINT: b"", ROUTE: b""})["endpoint_change"].documents(0)
    identities = [Identity(node(mesh, number)) for number in range(mesh.proxies)]
    with Istiod(binary, mesh, changing) as server, Swarm(server.address) as swarm:
        measure(server, swarm, identities, mesh, row, batch=mesh.proxies if mesh.proxies <= CROWD else BATCH, quick=quick)


def pilot(mesh: Mesh, row: Row, *, quick: bool) -> None:
    with Lab(mesh) as lab, lab.swarm(lab.pilot, tls=False) as swarm:
        measure(Pilot(lab), swarm, lab.identities(mesh.proxies, tls=False), mesh, row, batch=mesh.proxies, quick=quick)


def main(quick: bool = False, binary: Path | None = None, proxies: int = 200, services: int = 1000) -> int:
    """All three; 2 if there is no istiod to measure."""
    if binary is None or not binary.is_file():
        print(NEEDS if binary is None else f"{binary} is no file; {NEEDS}", file=sys.stderr)
        return 2
    pin_to_client_core()
    plain = Mesh(proxies=min(proxies, 20) if quick else proxies, services=min(services, 50) if quick else services)
    shape = (
        f"{plain.services} services x {plain.endpoints} endpoints in {plain.namespaces} namespaces, {plain.proxies} proxies, flat, "
        f"delta, plaintext{', QUICK' if quick else ''}"
    )
    settings = ", ".join(f"{name}={value}" for name, value in CONDITIONS.items())
    rows = {
        "istiod": Row("istiod", f"{shape}, whole RDS; istiod {version(binary)}, {settings}, on one core, configuration from files"),
    }
    rows["pilot"] = Row("pilot", f"{shape}, VHDS; limit: istiod", rows["istiod"])
    rows["pilot-rds"] = Row("pilot-rds", f"{shape}, whole RDS; limit: istiod", rows["istiod"])
    discovering, inline = (
        Mesh(proxies=plain.proxies, services=plain.services, metadata={**AS_THE_AGENT, **more})
        for more in ({}, {"VIRTUAL_HOST_DISCOVERY": ""})
    )
    deadline = Deadline(LONGEST)
    deadline.run("istiod", lambda: istiod(binary, plain, rows["istiod"], quick=quick), seconds=LONGEST / 2)
    deadline.run("Pilot", lambda: pilot(discovering, rows["pilot"], quick=quick), seconds=LONGEST / 4)
    deadline.run("Pilot without VHDS", lambda: pilot(inline, rows["pilot-rds"], quick=quick), seconds=LONGEST / 4)
    deadline.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
