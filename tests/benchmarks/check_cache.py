# SPDX-License-Identifier: Apache-2.0
"""What a cached Check and a Report cost Envoy: CPU for each request, beside the same listener without them, in the same run.

    python -m tests.benchmarks check_cache

Envoy answers by itself (no application), one worker, 16 plaintext connections. CPU time is that of Envoy's threads, so a busy machine
disturbs little; the least of several rounds counts.
"""

from __future__ import annotations

import asyncio
import copy
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from pilot.networking.mixerclient import RouteCheck
from tests.integration.mixer.data_plane import MIXER, SERVICE, Identities, Json, Ports, bootstrap, envoy, free_port
from tests.integration.mixer.scripted_mixer import ScriptedMixer, by

REQUESTS, ROUNDS, CONNECTIONS = 8000, 5, 16
VARIANTS = {  # name -> (filter, access log, is the route checked)
    "no filter": (False, False, False),
    "filter, unchecked route": (True, False, False),
    "cached check": (True, False, True),
    "report": (False, True, False),
    "cached check and report": (True, True, True),
}


class Load(asyncio.Protocol):
    """One connection that sends the next request when the answer to the last has come."""

    def __init__(self, number: int, done: asyncio.Future[None]) -> None:
        self._left, self._done, self._received = number, done, b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._send()

    def data_received(self, data: bytes) -> None:
        self._received += data
        if not self._received.endswith(b"\r\n\r\nok"):
            return
        self._left -= 1
        if self._left:
            self._send()
        else:
            self._transport.close()
            self._done.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._done.done():
            self._done.set_exception(exc or ConnectionError(f"Envoy closed the connection after {self._received!r}"))

    def _send(self) -> None:
        self._received = b""
        self._transport.write(b"GET /ratings/0 HTTP/1.1\r\nhost: bench\r\nuser: jason\r\n\r\n")


async def load(port: int, number: int) -> None:
    loop = asyncio.get_running_loop()
    connections: list[asyncio.Future[None]] = [loop.create_future() for _ in range(CONNECTIONS)]
    for done in connections:
        await loop.create_connection(lambda done=done: Load(number // CONNECTIONS, done), "127.0.0.1", port)  # type: ignore[misc]
    await asyncio.gather(*connections)


def cpu_seconds(pid: int) -> float:
    threads = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads) / 1e9


def listeners(config: Json) -> dict[str, int]:
    """Put one listener for each variant into the bootstrap; gives their ports."""
    template = config["static_resources"]["listeners"][0]
    config["static_resources"]["listeners"] = []
    ports: dict[str, int] = {}
    for name, (filtered, reported, checked) in VARIANTS.items():
        listener = copy.deepcopy(template)
        ports[name] = free_port()
        listener["name"] = name
        listener["address"]["socket_address"]["port_value"] = ports[name]
        manager: dict[str, Any] = listener["filter_chains"][0]["filters"][0]["typed_config"]
        hosts = {host["name"]: host for host in manager["route_config"]["virtual_hosts"]}
        host = hosts["checked" if checked else "unchecked"] | {"domains": ["bench"]}
        (route,) = host["routes"]
        del route["route"]
        route["direct_response"] = {"status": 200, "body": {"inline_string": "ok"}}
        manager["route_config"]["virtual_hosts"] = [host]
        if not filtered:
            manager["http_filters"] = manager["http_filters"][-1:]
            del route["typed_per_filter_config"]
        if not reported:
            del manager["access_log"]
        config["static_resources"]["listeners"].append(listener)
    return ports


async def measure() -> dict[str, float]:
    """Microseconds of Envoy's CPU for each request, by variant."""
    identities = Identities()
    routes = {"checked": RouteCheck(services=(SERVICE,), epoch="e"), "unchecked": RouteCheck(services=(SERVICE,), check=False)}
    best: dict[str, float] = {}
    async with ScriptedMixer(identities.of(MIXER)).serving() as mixer:
        mixer.epoch = "e"
        mixer.decide = lambda bag, quotas: by("user", valid_use_count=1 << 30)
        own = {name: free_port() for name in ("admin", "plain", "mesh", "outbound", "tcp", "application")}
        ports = Ports(**own, check=mixer.check_port, report=mixer.report_port)
        config = bootstrap(ports, identities, routes)
        targets = listeners(config)
        with tempfile.TemporaryDirectory() as directory:
            async with envoy(Path(directory), config, ports) as mesh:
                for _ in range(ROUNDS):
                    for name, port in targets.items():
                        await load(port, CONNECTIONS * 10)
                        asked, before = len(mixer.asked), cpu_seconds(mesh.pid)
                        await load(port, REQUESTS)
                        used = (cpu_seconds(mesh.pid) - before) / REQUESTS * 1e6
                        assert len(mixer.asked) == asked, "not every request was answered from the cache"
                        best[name] = min(best.get(name, used), used)
    return best


def main() -> None:
    found = asyncio.run(measure())
    limit = found.pop("no filter")
    conditions = f"Envoy 1.40, 1 worker, {CONNECTIONS} plaintext connections, direct responses, {os.cpu_count()} cores; limit: no filter"
    for name, value in found.items():
        figure = {"name": f"mixer.{name}", "value": round(value, 1), "unit": "us CPU/request", "limit": round(limit, 1)}
        print(json.dumps(figure | {"ratio": round(value / limit, 2), "conditions": conditions}))


if __name__ == "__main__":
    main()
