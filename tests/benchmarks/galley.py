# SPDX-License-Identifier: Apache-2.0
"""Galley's figures: one resource from request to MCP frame, ten thousand from disk to MCP, the memory that they take, and an analysis.

python -m tests.benchmarks galley
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import logging
import os
import sqlite3
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from operator import is_
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import msgspec
import structlog
import yaml

from common.config.kinds.mesh import MESH_CONFIG, MeshConfig
from common.config.kinds.networking import VIRTUAL_SERVICE
from common.config.resource import Metadata, Resource, from_document
from common.database import Writer, create, migrate, sqlite_url
from common.lifecycle.command import SWITCH_SECONDS
from common.mcp import Change
from common.mcp.client import GrpcConfigSource
from common.mcp.publisher import Publisher
from common.mesh.names import ROOT_NAMESPACE, SERVICE_ACCOUNTS, control_plane_dns_name
from galley.analysis import Memory, analyze
from galley.distribution.distributor import Distributor
from galley.sources.admission import Admission
from galley.sources.directory import DirectorySource
from galley.store.store import MIGRATIONS, Store
from galley.store.workloads import Workloads
from tests.benchmarks.figure import Figure, machine
from tests.benchmarks.xds_clients.mesh import Mesh
from tests.running_citadel import identity_of
from tests.running_galley import api_token, authority, running_galley

TOKEN = api_token()
RESOURCES, FILES = 10_000, 1_000
APPLIES, WARM_UP = 200, 20
ANALYSES = 15
BATCH = "/apis/fourmast.io/v1/batch"


def virtual_service(number: int, host: str = "") -> dict[str, Any]:
    """A canary with a header match, a timeout and retries, as the tutorial ends up with."""
    host = host or f"service-{number}"
    rules = [
        {
            "match": [{"headers": {"end-user": {"exact": "jason"}}, "uri": {"prefix": "/api/v1"}}],
            "route": [{"destination": {"host": host, "subset": "v2"}}],
            "timeout": "10s",
            "retries": {"attempts": 3, "perTryTimeout": "2s"},
        },
        {
            "route": [
                {"destination": {"host": host, "subset": "v1"}, "weight": 90},
                {"destination": {"host": host, "subset": "v2"}, "weight": 10},
            ]
        },
    ]
    return _document("networking.istio.io/v1alpha3", "VirtualService", number, {"hosts": [host], "http": rules})


def destination_rule(number: int) -> dict[str, Any]:
    subsets = [{"name": f"v{n}", "labels": {"version": f"v{n}"}} for n in (1, 2)]
    policy = {"connectionPool": {"tcp": {"maxConnections": 100}}, "outlierDetection": {"consecutiveErrors": 5, "interval": "30s"}}
    spec = {"host": f"service-{number}", "trafficPolicy": policy, "subsets": subsets}
    return _document("networking.istio.io/v1alpha3", "DestinationRule", number, spec)


def service(number: int) -> dict[str, Any]:
    return _document("v1", "Service", number, {"ports": [{"name": "http", "port": 9080}], "selector": {"app": f"service-{number}"}})


def service_entry(number: int) -> dict[str, Any]:
    spec = {
        "hosts": [f"external-{number}.example.com"],
        "ports": [{"number": 443, "name": "https", "protocol": "HTTPS"}],
        "resolution": "DNS",
        "location": "MESH_EXTERNAL",
        "endpoints": [{"address": f"origin-{number}.example.com"}],
    }
    return _document("networking.istio.io/v1alpha3", "ServiceEntry", number, spec)


def rule(number: int) -> dict[str, Any]:
    spec = {"match": f'destination.labels["app"] == "service-{number}"', "requestHeaderOperations": [{"name": "x-team", "values": ['"a"']}]}
    return _document("config.istio.io/v1alpha2", "rule", number, spec)


def _document(api: str, kind: str, number: int, spec: dict[str, Any]) -> dict[str, Any]:
    metadata = {"name": f"service-{number}", "namespace": f"team-{number % 50}", "labels": {"app": f"service-{number}"}}
    return {"apiVersion": api, "kind": kind, "metadata": metadata, "spec": spec}


def documents() -> Iterator[dict[str, Any]]:
    """Half VirtualServices, the rest mixed."""
    others = (destination_rule, service, service_entry, rule)
    for number in range(RESOURCES // 2):
        yield virtual_service(number)
        yield others[number % len(others)](number)


def fill(folder: Path) -> int:
    """Write the documents as YAML, the same number in each file. Returns the bytes."""
    found = list(documents())
    each = len(found) // FILES
    written = 0
    for number in range(FILES):
        text = yaml.dump_all(found[number * each : (number + 1) * each], Dumper=yaml.CSafeDumper, sort_keys=False)
        written += (folder / f"{number:04}.yaml").write_text(text)
    return written


async def load_once(folder: Path, database: Path) -> tuple[float, float, int]:
    """Seconds from nothing read to everything published, the processor's share of them, and the objects in the MCP snapshot."""
    engine = create(sqlite_url(database))
    async with Writer.open(engine, name="galley") as writer:
        await writer.call(lambda: migrate(engine, MIGRATIONS))
        store = await Store.open(writer)
        publisher = Publisher()
        source = DirectorySource(folder, store, Admission(lambda: store.snapshot))
        Distributor(store, await Workloads.open(writer, start=store.start), publisher)
        began, worked = time.perf_counter(), time.process_time()
        await source.load()
        published = sum(len(state.entries) for state in (publisher.snapshot or {}).values())
        return time.perf_counter() - began, time.process_time() - worked, published


def load_limit(folder: Path, database: Path) -> float:
    """Seconds for the least that could be done: libyaml reads every file and one SQLite transaction keeps every document."""
    began = time.perf_counter()
    texts = [path.read_text() for path in sorted(folder.iterdir())]
    for text in texts:
        next_event = yaml.CSafeLoader(text).get_event
        while not isinstance(next_event(), yaml.StreamEndEvent):
            pass
    rows = [(str(number), msgspec.json.encode(document).decode()) for number, document in enumerate(documents())]
    with contextlib.closing(_durable(database)) as connection, connection:
        connection.executemany("INSERT INTO bodies VALUES (?, ?)", rows)
    return time.perf_counter() - began


def _durable(database: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(database)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("CREATE TABLE bodies (name TEXT PRIMARY KEY, body TEXT)")
    return connection


async def apply_once(folder: Path, *, stored: int) -> tuple[list[float], list[float]]:
    """Milliseconds of each apply, from the first byte of the request to the MCP frame that holds it, and of each bare SQLite commit.

    A whole Galley: HTTPS with a token, validation, a durable transaction, MCP over mutual TLS to one sink. Client and sink share its
    process and event loop, so their own work is in the figure.
    """
    sys.setswitchinterval(SWITCH_SECONDS)  # as every part sets it for itself
    async with running_galley(folder) as galley:
        kept = itertools.islice(documents(), stored)
        while some := list(itertools.islice(kept, 2_000)):
            await galley.apply(*some)
        arrived: asyncio.Queue[str] = asyncio.Queue()
        stopping = asyncio.Event()

        async def on_change(change: Change) -> None:
            arrived.put_nowait(change.version)

        identity = identity_of(authority, ROOT_NAMESPACE, SERVICE_ACCOUNTS["pilot"])
        source = GrpcConfigSource(lambda: galley.addresses["mcp"], identity)
        following = asyncio.create_task(
            source.run(node_id="pilot", collections=[VIRTUAL_SERVICE.collection], on_change=on_change, stopping=stopping)
        )
        await arrived.get()
        host, _, port = galley.addresses["rest"].rpartition(":")
        trusted = ssl.create_default_context(cadata=authority.bundle_pem.decode())
        reader, writer = await asyncio.open_connection(host, int(port), ssl=trusted, server_hostname=control_plane_dns_name("galley"))
        taken: list[float] = []
        with contextlib.closing(_durable(folder / "bare.db")) as bare:
            commits: list[float] = []
            for number in range(WARM_UP + APPLIES):
                body = msgspec.json.encode({"items": [{"document": virtual_service(number, f"changed-{number}")}]})
                head = f"POST {BATCH} HTTP/1.1\r\nHost: galley\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: {len(body)}\r\n\r\n"
                began = time.perf_counter()
                writer.write(head.encode() + body)
                await arrived.get()
                took = time.perf_counter() - began
                answer = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                assert answer.startswith("http/1.1 200"), answer
                await reader.readexactly(int(answer.partition("content-length: ")[2].split("\r\n")[0]))
                began = time.perf_counter()
                with bare:
                    bare.execute("INSERT INTO bodies VALUES (?, ?)", (str(number), body.decode()))
                if number >= WARM_UP:
                    taken.append(took * 1000)
                    commits.append((time.perf_counter() - began) * 1000)
        writer.close()
        stopping.set()
        await following
        return taken, commits


def resident(folder: Path, database: Path) -> tuple[float, float]:
    """MiB that a process with everything loaded holds, and that a process with nothing loaded holds; each in a process of its own."""

    def measured(*arguments: str) -> float:
        command = [sys.executable, "-m", "tests.benchmarks.galley", "--resident", *arguments]
        done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=Path(__file__).parents[2])
        return float(done.stdout.rpartition("resident ")[2])

    return measured(str(folder), str(database)), measured()


def _say_resident(arguments: list[str]) -> None:
    if arguments:
        asyncio.run(load_once(Path(arguments[0]), Path(arguments[1])))
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    print("resident", pages * os.sysconf("SC_PAGE_SIZE") / 2**20)


def analyse_again() -> tuple[float, dict[str, float], float]:
    """Milliseconds of processor for an analysis of the xDS benchmark's mesh: the first; later ones after one object changed, by its kind (p50);
    and the least that could be done to see what changed: one comparison of each object with that of the time before."""
    mesh = Mesh()
    documents = [*mesh.documents(), *(mesh.route(service, 0) for service in mesh.all_services())]
    resources = [from_document(each) for each in documents]
    of_the_mesh = Metadata(name="default", namespace=ROOT_NAMESPACE)
    resources.append(Resource(kind=MESH_CONFIG, metadata=of_the_mesh, spec=MeshConfig()))
    places = {resource.key: place for place, resource in enumerate(resources)}
    some, memory = mesh.service(7), Memory()

    def milliseconds(work: Callable[[], object]) -> float:
        began = time.process_time()
        work()
        return (time.process_time() - began) * 1000

    def changed(kind: str, number: int) -> Resource[Any]:
        match kind:
            case "WorkloadEntry":
                return from_document(mesh.endpoint(some, 3, generation=number))
            case "VirtualService":
                return from_document(mesh.route(some, number))
            case "Service":
                document = next(each for each in mesh.documents() if each["metadata"]["name"] == some.name)
                return from_document({**document, "metadata": {**document["metadata"], "labels": {"generation": str(number)}}})
        return Resource(kind=MESH_CONFIG, metadata=of_the_mesh, spec=MeshConfig(accessLogFile=f"/var/log/{number}"))

    first = milliseconds(lambda: analyze(resources, memory=memory))
    later: dict[str, float] = {}
    for kind in ("WorkloadEntry", "VirtualService", "MeshConfig", "Service"):
        taken = []
        for number in range(1, ANALYSES + 1):
            resource = changed(kind, number)
            resources[places[resource.key]] = resource
            taken.append(milliseconds(lambda: analyze(resources, memory=memory)))
        later[kind] = median(taken)
    before = list(resources)
    return first, later, median(milliseconds(lambda: all(map(is_, before, resources))) for _ in range(ANALYSES))


async def figures() -> AsyncIterator[Figure]:
    """All of them, one after another."""
    with tempfile.TemporaryDirectory(prefix="fourmast-bench-") as place:
        root = Path(place)
        taken, commits = await apply_once(root / "few", stored=0)
        yield Figure(
            "galley.apply_ms", median(taken), "ms", median(commits),
            f"p50 of {APPLIES} (p99 {quantiles(taken, n=100)[98]:.1f} ms), request to MCP frame at a sink, HTTPS and mTLS on loopback, "
            f"SQLite synchronous=FULL; limit: one such commit alone; {machine()}",
        )  # fmt: skip
        taken, commits = await apply_once(root / "many", stored=RESOURCES)
        yield Figure(
            "galley.apply_at_10k_ms", median(taken), "ms", median(commits),
            f"the same with {RESOURCES} resources stored; p99 {quantiles(taken, n=100)[98]:.1f} ms; {machine()}",
        )  # fmt: skip
        folder = root / "config"
        folder.mkdir()
        size = fill(folder)
        seconds, worked, published = await load_once(folder, root / "load.db")
        assert published == RESOURCES
        yield Figure(
            "galley.load_s", seconds, "s", load_limit(folder, root / "limit.db"),
            f"{RESOURCES} resources in {FILES} files ({size / 2**20:.1f} MiB) read, validated, stored, published; {worked:.1f} s of processor; "
            f"limit: libyaml's events and one SQLite transaction; {machine()}",
        )  # fmt: skip
        loaded, empty = resident(folder, root / "memory.db")
        yield Figure(
            "galley.memory_mib", loaded, "MiB", empty,
            f"resident with {RESOURCES} resources loaded; limit: the same process with nothing loaded; {machine()}",
        )  # fmt: skip

    first, later, compared = analyse_again()
    yield Figure(
        "galley.analyze_ms", first, "ms", None,
        f"processor time of a first analysis: 1,000 services with 10 workloads and a VirtualService each, without pauses; {machine()}",
    )  # fmt: skip
    each = ", ".join(f"{kind} {took:.1f}" for kind, took in later.items())
    yield Figure(
        "galley.analyze_again_ms", max(later.values()), "ms", compared,
        f"the same after one object changed, p50 of {ANALYSES}, the worst kind of {each}; limit: one comparison per object; {machine()}",
    )  # fmt: skip


async def main() -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    async for figure in figures():
        figure.say()


if __name__ == "__main__":
    if "--resident" in sys.argv:
        _say_resident(sys.argv[sys.argv.index("--resident") + 1 :])
    else:
        asyncio.run(main())
