# SPDX-License-Identifier: Apache-2.0
"""`galley serve` as a process of its own beside a real Citadel: joined by its join file, killed without warning, started again."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import httpx
import pytest

from common.config.kinds.networking import VIRTUAL_SERVICE, WORKLOAD_ENTRY
from common.identity.enrolment import enrol
from common.identity.https import https_client
from common.identity.material import WorkloadIdentity
from common.identity.tls import grpc_channel
from common.mcp import Change
from common.mcp.client import GrpcConfigSource
from common.proto.galley import v1_pb2, v1_pb2_grpc
from tests.running_citadel import RunningCitadel, running_citadel
from tests.running_galley import service, virtual_service

BATCH = "/apis/fourmast.io/v1/batch"


@dataclass
class GalleyProcess:
    """A `galley serve` that may be killed and started again; addresses are those of the last start."""

    citadel: RunningCitadel
    state: Path
    process: asyncio.subprocess.Process | None = None
    addresses: dict[str, str] | None = None

    async def start(self, *flags: str) -> GalleyProcess:
        for stale in self.state.glob("addresses.json"):
            stale.unlink()
        loopback = [f"--{name}-address=127.0.0.1:0" for name in ("rest", "mcp", "registration", "monitoring")]
        join = f"--join-file={self.citadel.state_dir / 'join' / 'galley.json'}"
        command = (sys.executable, "-m", "galley.cli", "serve", f"--state-dir={self.state}", join, "--ctrlz-address=", *loopback, *flags)
        self.process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.DEVNULL)
        async with asyncio.timeout(60):
            while not (self.state / "addresses.json").exists() or len(self._read()) < 3:
                assert self.process.returncode is None, "galley ended at once"
                await asyncio.sleep(0.05)
        self.addresses = self._read()
        return self

    def _read(self) -> dict[str, str]:
        found: dict[str, str] = json.loads((self.state / "addresses.json").read_text()).get("galley", {})
        return found

    async def kill(self, number: int = signal.SIGKILL) -> int:
        assert self.process is not None
        os.kill(self.process.pid, number)
        return await asyncio.wait_for(self.process.wait(), 30)

    def at(self, listener: str) -> str:
        assert self.addresses is not None
        return self.addresses[listener]

    def rest(self) -> httpx.AsyncClient:
        roots = (self.citadel.state_dir / "roots.pem").read_bytes()
        return https_client(self.at("rest"), part="galley", roots_pem=roots, token=self.citadel.admin_token)

    async def apply(self, *documents: dict[str, Any]) -> httpx.Response:
        async with self.rest() as client:
            return await client.post(BATCH, json={"items": [{"document": d} for d in documents]})


@pytest.fixture
async def citadel(tmp_path: Path) -> AsyncIterator[RunningCitadel]:
    async with running_citadel(tmp_path / "citadel") as running:
        yield running


@pytest.fixture
async def galley(citadel: RunningCitadel, tmp_path: Path) -> AsyncIterator[GalleyProcess]:
    started = await GalleyProcess(citadel, tmp_path / "galley").start()
    yield started
    if started.process is not None and started.process.returncode is None:
        await started.kill()


@pytest.fixture
async def pilot(citadel: RunningCitadel, tmp_path: Path) -> AsyncIterator[WorkloadIdentity]:
    async with enrol(
        join_file=citadel.state_dir / "join" / "pilot.json",
        citadel_address=citadel.addresses["csr"],
        renewal_address=citadel.addresses["renewal"],
        state_dir=tmp_path / "pilot",
        name="pilot",
    ) as identity:
        yield identity


@contextlib.asynccontextmanager
async def subscribed(galley: GalleyProcess, pilot: WorkloadIdentity, *collections: str) -> AsyncIterator[asyncio.Queue[Change]]:
    changes: asyncio.Queue[Change] = asyncio.Queue()
    stopping = asyncio.Event()
    source = GrpcConfigSource(lambda: galley.at("mcp"), pilot)
    task = asyncio.create_task(source.run(node_id="pilot", collections=collections, on_change=changes.put, stopping=stopping))
    yield changes
    stopping.set()
    await asyncio.wait_for(task, 15)


async def test_what_was_answered_survives_a_kill_and_the_sink_converges(galley: GalleyProcess, pilot: WorkloadIdentity) -> None:
    async with subscribed(galley, pilot, VIRTUAL_SERVICE.collection) as changes:
        assert (await asyncio.wait_for(changes.get(), 15)).full
        taken: list[str] = []

        async def keep_writing() -> None:
            for n in range(200):
                try:
                    answer = await galley.apply(virtual_service(f"v{n}"))
                except httpx.HTTPError:
                    return  # killed before it answered: no promise was made
                assert answer.status_code == 200
                taken.append(f"v{n}")

        writing = asyncio.create_task(keep_writing())
        while len(taken) < 15:
            await asyncio.sleep(0.01)
        await galley.kill()
        await writing
        await galley.start()

        async with galley.rest() as client:
            listing = (await client.get("/apis/networking.istio.io/v1alpha3/virtualservices")).json()
        kept = {item["metadata"]["name"] for item in listing["items"]}
        assert set(taken) <= kept <= {*taken, f"v{len(taken)}"}, "at most the one that was under way is there unanswered"

        assert (await galley.apply(virtual_service("after"))).status_code == 200
        held: set[str] = set()
        async with asyncio.timeout(30):
            while held != {*kept, "after"}:
                change = await changes.get()
                held = (set() if change.full else held - {name.rpartition("/")[2] for name in change.removed}) | {
                    r.name for r in change.upserts
                }


async def test_apply_watch_and_a_second_galley_on_the_same_database(galley: GalleyProcess) -> None:
    assert (await galley.apply(service())).json()["items"][0]["action"] == "created"
    async with galley.rest() as client, client.stream("GET", "/api/v1/services", params={"watch": "1"}) as watch:
        lines = watch.aiter_lines()
        assert json.loads(await asyncio.wait_for(anext(lines), 15))["object"]["metadata"]["name"] == "reviews"
        await galley.apply(service("ratings"))
        assert json.loads(await asyncio.wait_for(anext(lines), 15))["object"]["metadata"]["name"] == "ratings"
    command = (sys.executable, "-m", "galley.cli", "serve", f"--state-dir={galley.state}", "--monitoring-address=", "--ctrlz-address=")
    loopback = [f"--{name}-address=127.0.0.1:0" for name in ("rest", "mcp", "registration")]
    second = await asyncio.create_subprocess_exec(*command, *loopback, stderr=asyncio.subprocess.PIPE)
    _, said = await asyncio.wait_for(second.communicate(), 60)
    assert second.returncode == 1
    assert galley.process is not None
    assert f"another galley holds {galley.state / 'galley.db.lock'} (process {galley.process.pid})" in said.decode()
    assert await galley.kill(signal.SIGTERM) == 0


async def test_a_galley_that_stands_by_takes_over(galley: GalleyProcess, citadel: RunningCitadel) -> None:
    await galley.apply(service())
    second = GalleyProcess(citadel, galley.state)
    (galley.state / "addresses.json").unlink()
    loopback = [f"--{name}-address=127.0.0.1:0" for name in ("rest", "mcp", "registration")]
    flags = (f"--state-dir={galley.state}", "--when-locked=wait", "--monitoring-address=", "--ctrlz-address=")
    second.process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "galley.cli", "serve", *flags, *loopback, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        async with asyncio.timeout(60):
            while "rest" not in (second._read() if (galley.state / "addresses.json").exists() else {}):
                await asyncio.sleep(0.05)
        second.addresses = second._read()
        answer = await second.apply(service("ratings"))
        assert (answer.status_code, answer.headers["retry-after"], answer.json()["reason"]) == (503, "1", "ServiceUnavailable")
        await galley.kill(signal.SIGTERM)
        async with asyncio.timeout(30):
            while (answer := await second.apply(service("ratings"))).status_code == 503:
                await asyncio.sleep(0.05)
        assert answer.status_code == 200
        async with second.rest() as client:
            names = [item["metadata"]["name"] for item in (await client.get("/api/v1/services")).json()["items"]]
        assert names == ["ratings", "reviews"]
    finally:
        await second.kill()


async def test_a_silent_workload_leaves(galley: GalleyProcess, pilot: WorkloadIdentity) -> None:
    """In real time: five seconds without a heartbeat."""
    async with (
        subscribed(galley, pilot, WORKLOAD_ENTRY.collection) as changes,
        grpc_channel(pilot, galley.at("registration"), part="galley") as channel,
    ):
        stub: Any = v1_pb2_grpc.RegistrationStub(channel)  # type: ignore[no-untyped-call]
        assert (await asyncio.wait_for(changes.get(), 15)).full
        answer = await stub.Register(v1_pb2.RegisterRequest(workload=v1_pb2.Workload(name="quiet"), healthy=True))
        registered = await asyncio.wait_for(changes.get(), 15)
        assert [r.spec.address for r in registered.upserts] == ["127.0.0.1"], "the connection's own, when nothing else is declared"
        loop = asyncio.get_running_loop()
        began = loop.time()
        gone = await asyncio.wait_for(changes.get(), answer.lease_seconds + 3)
        assert "istio-system/quiet" in gone.removed
        assert answer.lease_seconds - 0.5 < loop.time() - began < answer.lease_seconds + 1
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.Heartbeat(v1_pb2.HeartbeatRequest(lease=answer.lease, healthy=True))
        assert refused.value.code() is grpc.StatusCode.NOT_FOUND
