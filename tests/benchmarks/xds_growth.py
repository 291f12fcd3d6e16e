# SPDX-License-Identifier: Apache-2.0
"""How the xDS figures grow with proxies and with services: a table and a chart for docs/reference/performance.md.

    python -m tests.benchmarks xds_growth        # replaces both

Runs only when it is named: six control planes one after the other take several minutes.
"""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from statistics import median
from typing import NamedTuple

from tests.benchmarks.deadline import Deadline
from tests.benchmarks.figure import Figure, machine
from tests.benchmarks.xds import PATIENCE, cases, change
from tests.benchmarks.xds_clients.mesh import Mesh
from tests.benchmarks.xds_lab import AS_THE_AGENT, Lab, pin_to_client_core

REFERENCE = Path(__file__).parents[2] / "docs/reference"
BEGIN, END = "<!-- growth: begin (python -m tests.benchmarks xds_growth) -->", "<!-- growth: end -->"
ROUNDS = 3
LONGEST = 470.0  # seconds for all sizes


class Row(NamedTuple):
    """Milliseconds, except for the memory."""

    proxies: int
    services: int
    endpoint_change: float
    route_change: float
    cold_start: float
    memory: float


def main(quick: bool = False) -> None:
    """All sizes; `quick` writes nothing."""
    pin_to_client_core()
    sizes = [(20, 50), (40, 50)] if quick else [(100, 1000), (500, 1000), (1000, 1000), (2000, 1000), (1000, 100), (1000, 3000)]
    rows: list[Row] = []
    deadline = Deadline(LONGEST)
    for proxies, services in sizes:
        deadline.run(f"{proxies} x {services}", partial(_measure_into, rows, proxies, services), seconds=150)
    if not quick and rows:
        _write(sorted(rows), [row for row in rows if row.services == 1000])
    deadline.close()


def _measure_into(rows: list[Row], proxies: int, services: int) -> None:
    rows.append(_measure(proxies, services))


def _measure(proxies: int, services: int) -> Row:
    mesh = Mesh(proxies=proxies, services=services, metadata=AS_THE_AGENT)
    with Lab(mesh) as lab, lab.swarm(lab.pilot, tls=True) as swarm:
        identities = lab.identities(proxies, tls=True)
        began = time.monotonic()
        swarm.connect(identities)
        synced = swarm.until_synced(2 * PATIENCE)
        if synced.missing:
            raise TimeoutError(f"{synced.missing} of {proxies} proxies did not get their configuration: {swarm.closed.most_common(3)}")
        swarm.idle(1)
        known = cases(mesh, swarm.samples)
        endpoint, route = (
            median(change(lab, swarm, known[name]).from_request for _ in range(ROUNDS)) for name in ("endpoint_change", "route_change")
        )
        memory = lab.pilot.usage()["usage"]["megabytes"]
    row = Row(proxies, services, endpoint, route, (synced.finished - began) * 1e3, memory)
    conditions = f"{proxies} proxies, {services} services x {mesh.endpoints} endpoints, flat, delta, mTLS; median of {ROUNDS}"
    for name, unit in (("endpoint_change", "ms"), ("route_change", "ms"), ("cold_start", "ms"), ("memory", "MB")):
        Figure(f"xds_growth.{name}", getattr(row, name), unit, None, conditions).say()
    return row


def _write(rows: list[Row], charted: list[Row]) -> None:
    page = REFERENCE / "performance.md"
    text = page.read_text()
    lines = [
        "| proxies | services | endpoint change, ms | route change, ms | cold start, ms | Pilot's memory, MB |",
        "|---:|---:|---:|---:|---:|---:|",
        *("| " + " | ".join(f"{number:,.0f}" for number in row) + " |" for row in rows),
    ]
    table = "\n".join([BEGIN, "", f"{machine()}.", "", *lines, "", "![Growth with proxies](xds-growth.svg)", "", END])
    before, _, rest = text.partition(BEGIN)
    page.write_text(before + table + rest.partition(END)[2])
    (REFERENCE / "xds-growth.svg").write_text(chart(charted))


def chart(rows: list[Row]) -> str:
    """Milliseconds to the last acknowledgement over the number of proxies."""
    width, height, left, bottom = 640, 320, 60, 40
    right_most, top_most = max(row.proxies for row in rows), max(max(row.endpoint_change, row.route_change) for row in rows) * 1.1

    def at(proxies: float, milliseconds: float) -> tuple[float, float]:
        return left + (width - left - 20) * proxies / right_most, height - bottom - (height - bottom - 20) * milliseconds / top_most

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
    ]
    for step in range(5):
        value = top_most * step / 4
        _, y = at(0, value)
        label = f'<text x="{left - 6}" y="{y + 4:.1f}" text-anchor="end">{value:.0f}</text>'
        parts.append(f'<path d="M{left} {y:.1f}H{width - 20}" stroke="#ddd"/>{label}')
    for row in rows:
        x, y = at(row.proxies, 0)
        parts.append(f'<text x="{x:.1f}" y="{y + 16:.1f}" text-anchor="middle">{row.proxies}</text>')
    for number, (name, colour) in enumerate((("endpoint_change", "#0b7285"), ("route_change", "#c2255c"))):
        points = [at(row.proxies, getattr(row, name)) for row in rows]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in points]
        parts.append(f'<text x="{left + 10}" y="{34 + 16 * number}" fill="{colour}">{name.replace("_", " ")}, ms to the last ACK</text>')
    parts.append(f'<text x="{width / 2}" y="{height - 6}" text-anchor="middle">proxies (1,000 services, mTLS)</text></svg>')
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    main()
