# SPDX-License-Identifier: Apache-2.0
"""Agents, Pilot and Mixer against a real Galley, over mutual TLS."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import importlib.metadata
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import httpx
import pytest

from common.config.kinds.networking import VIRTUAL_SERVICE, WORKLOAD_ENTRY
from common.config.resource import Resource, ResourceKey
from common.identity.material import WorkloadIdentity
from common.identity.tls import grpc_channel
from common.mcp import Change
from common.mcp.client import GrpcConfigSource
from common.proto.galley import v1_pb2, v1_pb2_grpc
from common.registration import StatusReporter, Verdict, Workload, registration
from tests.running_citadel import identity_of, part_identity
from tests.running_galley import RunningGalley, authority, document, running_galley, virtual_service

reviews = identity_of(authority, "default", "reviews")
pilot = part_identity(authority, "pilot")
WORKLOAD = Workload(
    name="reviews-1", address="127.10.0.5", ports={"http": 9080}, labels={"app": "reviews", "version": "v1"}, locality="r/z"
)
STATUS = "/apis/networking.istio.io/v1alpha3/namespaces/default/virtualservices/reviews/status"


@pytest.fixture(scope="module")
async def galley(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningGalley]:
    """One for all tests here: each leaves it without workloads."""
    async with running_galley(tmp_path_factory.mktemp("galley")) as running:
        yield running


@pytest.fixture
async def fresh_galley(tmp_path: Path) -> AsyncIterator[RunningGalley]:
    async with running_galley(tmp_path) as running:
        yield running


class Mesh:
    """What Pilot knows of WorkloadEntries."""

    def __init__(self) -> None:
        self.entries: dict[str, Resource[Any]] = {}
        self.versions: list[str] = []
        self._changed = asyncio.Event()

    async def take(self, change: Change) -> None:
        if change.full:
            self.entries.clear()
        for name in change.removed:
            self.entries.pop(name, None)
        self.entries.update({r.key.mcp_name: r for r in change.upserts})
        self.versions.append(change.version)
        self._changed.set()

    async def until(self, condition: Callable[[dict[str, Resource[Any]]], bool], within: float = 5.0) -> None:
        async with asyncio.timeout(within):
            while not condition(self.entries):
                await self._changed.wait()
                self._changed.clear()


@contextlib.asynccontextmanager
async def mesh_of(galley: Callable[[], RunningGalley]) -> AsyncIterator[Mesh]:
    mesh, stopping = Mesh(), asyncio.Event()
    source = GrpcConfigSource(lambda: galley().addresses["mcp"], pilot)
    running = source.run(node_id="pilot", collections=[WORKLOAD_ENTRY.collection], on_change=mesh.take, stopping=stopping)
    task = asyncio.create_task(running)
    try:
        yield mesh
    finally:
        stopping.set()
        await task


def member(
    galley: RunningGalley,
    workload: Workload = WORKLOAD,
    *,
    identity: WorkloadIdentity = reviews,
    healthy: Callable[[], bool] = lambda: True,
) -> Any:
    return registration(identity, galley.addresses["registration"], workload, healthy, interval=0.05)


async def test_a_workload_is_in_the_mesh_while_its_agent_says_so(galley: RunningGalley) -> None:
    health = {"ok": True}
    async with mesh_of(lambda: galley) as mesh:
        async with member(galley, healthy=lambda: health["ok"]) as registered:
            await mesh.until(lambda entries: "default/reviews-1" in entries)
            entry = mesh.entries["default/reviews-1"]
            await asyncio.wait_for(registered.registered.wait(), 5)
            health["ok"] = False
            registered.beat_now()
            await mesh.until(lambda entries: not entries)
            health["ok"] = True
            registered.beat_now()
            await mesh.until(lambda entries: bool(entries))
        await mesh.until(lambda entries: not entries)
    spec = entry.spec
    assert (spec.address, spec.ports, spec.labels, spec.locality) == ("127.10.0.5", {"http": 9080}, WORKLOAD.labels, "r/z")
    assert spec.serviceAccount == "reviews", "from the certificate"
    assert entry.metadata.annotations["fourmast.io/registered"] == "true"
    assert len(set(mesh.versions)) == len(mesh.versions), "every state has its own version"


async def test_registered_workloads_are_shown_but_are_no_revisions(fresh_galley: RunningGalley) -> None:
    galley = fresh_galley
    async with member(galley) as registered:
        await asyncio.wait_for(registered.registered.wait(), 5)
        async with galley.rest() as client:
            entries = "/apis/networking.istio.io/v1alpha3/namespaces/default/workloadentries"
            assert [e["metadata"]["name"] for e in (await client.get(entries)).json()["items"]] == ["reviews-1"]
            assert (await client.get(f"{entries}/reviews-1")).json()["spec"]["serviceAccount"] == "reviews"
            assert (await client.get("/apis/fourmast.io/v1/revisions")).json()["items"] == []


async def test_a_proxy_of_another_version_than_galley_is_found(fresh_galley: RunningGalley) -> None:
    galley = fresh_galley
    old = dataclasses.replace(WORKLOAD, name="old", proxy_version="0.0.1")
    same = dataclasses.replace(WORKLOAD, name="same", proxy_version=importlib.metadata.version("fourmast-common"))
    async with member(galley, old) as one, member(galley, same) as other, galley.rest() as client:
        await asyncio.wait_for(asyncio.gather(one.registered.wait(), other.registered.wait()), 5)
        entry = (await client.get("/apis/networking.istio.io/v1alpha3/namespaces/default/workloadentries/old")).json()
        assert entry["metadata"]["annotations"]["fourmast.io/proxy-version"] == "0.0.1"
        async with asyncio.timeout(5):
            while not (found := [(f["code"], f["resource"]) for f in await findings(client)]):
                await asyncio.sleep(0.05)
        assert found == [("IST0105", "WorkloadEntry default/old")]


async def findings(client: httpx.AsyncClient) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = (await client.get("/apis/fourmast.io/v1/findings")).json()["items"]
    return items


async def test_galleys_restart_empties_nothing_and_the_agent_goes_on(tmp_path: Path) -> None:
    async with contextlib.AsyncExitStack() as stack:
        galleys = [await stack.enter_async_context(running_galley(tmp_path))]
        mesh = await stack.enter_async_context(mesh_of(lambda: galleys[-1]))
        where = lambda: galleys[-1].addresses["registration"]  # noqa: E731
        agent = await stack.enter_async_context(registration(reviews, where, WORKLOAD, lambda: True, interval=0.05))
        await mesh.until(lambda entries: bool(entries))

        told = len(mesh.versions)
        successor = await stack.enter_async_context(running_galley(tmp_path, when_locked="wait"))
        galleys[-1].life.stopping.set()
        await asyncio.wait_for(successor.life.until_ready(), 5)
        galleys.append(successor)
        async with asyncio.timeout(10):
            while len(mesh.versions) == told:
                await asyncio.sleep(0.02)
                assert mesh.entries, "a workload that is alive never left the mesh"
        await asyncio.wait_for(agent.registered.wait(), 5)
        assert "default/reviews-1" in mesh.entries


BAD = {
    "name": (v1_pb2.Workload(name="Not A Name"), "name"),
    "port": (v1_pb2.Workload(name="a", ports={"http": 70000}), "70000"),
    "label": (v1_pb2.Workload(name="a", labels={"bad key!": "x"}), "label"),
    "locality": (v1_pb2.Workload(name="a", locality="a/b/c/d"), "locality"),
    "address": (v1_pb2.Workload(name="a", address="example.com"), "example.com"),
    "version": (v1_pb2.Workload(name="a", proxy_version="1.0 or so"), "proxy_version"),
    "link-local": (v1_pb2.Workload(name="a", address="169.254.169.254"), "reach"),
    "too many labels": (v1_pb2.Workload(name="a", labels={f"l{n}": "" for n in range(65)}), "64"),
}


@pytest.mark.parametrize(("workload", "word"), BAD.values(), ids=BAD.keys())
async def test_what_a_workload_may_not_say(galley: RunningGalley, workload: v1_pb2.Workload, word: str) -> None:
    error = await refusal(galley, reviews, workload)
    assert (error.code(), word in str(error.details())) == (grpc.StatusCode.INVALID_ARGUMENT, True), error.details()


async def test_labels_are_bounded_by_the_join_token(galley: RunningGalley) -> None:
    bounded = identity_of(authority, "default", "reviews", label_bounds={"app": "reviews"})
    for labels in ({"app": "ratings"}, {}):
        error = await refusal(galley, bounded, v1_pb2.Workload(name="a", labels=labels))
        assert (error.code(), "label app" in str(error.details())) == (grpc.StatusCode.PERMISSION_DENIED, True)
    async with member(galley, identity=bounded) as registered:
        await asyncio.wait_for(registered.registered.wait(), 5)


async def test_names_belong_to_whoever_has_them(galley: RunningGalley) -> None:
    await galley.apply(document("WorkloadEntry", "by-hand", {"address": "10.0.0.1"}))
    error = await refusal(galley, reviews, v1_pb2.Workload(name="by-hand"))
    assert (error.code(), "configured by hand" in str(error.details())) == (grpc.StatusCode.ALREADY_EXISTS, True)
    await galley.wipe()
    async with member(galley) as registered:
        await asyncio.wait_for(registered.registered.wait(), 5)
        error = await refusal(galley, identity_of(authority, "default", "thief"), v1_pb2.Workload(name="reviews-1"))
        assert (error.code(), "service account reviews" in str(error.details())) == (grpc.StatusCode.ALREADY_EXISTS, True)


async def test_a_lease_can_only_be_used_by_its_own_identity(galley: RunningGalley) -> None:
    async with member(galley) as registered:
        await asyncio.wait_for(registered.registered.wait(), 5)
        async with grpc_channel(identity_of(authority, "default", "thief"), galley.addresses["registration"], part="galley") as channel:
            stub: Any = v1_pb2_grpc.RegistrationStub(channel)  # type: ignore[no-untyped-call]
            for call in (
                stub.Heartbeat(v1_pb2.HeartbeatRequest(lease=registered._lease)),
                stub.Deregister(v1_pb2.DeregisterRequest(lease=registered._lease)),
            ):
                with pytest.raises(grpc.aio.AioRpcError) as refused:
                    await call
                assert refused.value.code() is grpc.StatusCode.NOT_FOUND


async def refusal(galley: RunningGalley, identity: WorkloadIdentity, workload: v1_pb2.Workload) -> grpc.aio.AioRpcError:
    async with grpc_channel(identity, galley.addresses["registration"], part="galley") as channel:
        stub: Any = v1_pb2_grpc.RegistrationStub(channel)  # type: ignore[no-untyped-call]
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.Register(v1_pb2.RegisterRequest(workload=workload, healthy=True))
    return refused.value


class TestStatus:
    key = ResourceKey(VIRTUAL_SERVICE.collection, "default", "reviews")

    @contextlib.asynccontextmanager
    async def reporting(self, galley: RunningGalley, identity: WorkloadIdentity = pilot) -> AsyncIterator[StatusReporter]:
        reporter, stopping = StatusReporter(identity, galley.addresses["registration"], instance="host-1", pause=0.01), asyncio.Event()
        task = asyncio.create_task(reporter.run(stopping))
        yield reporter
        stopping.set()
        await asyncio.wait_for(task, 5)

    async def conditions(self, galley: RunningGalley, count: int) -> list[dict[str, Any]]:
        async with galley.rest() as client, asyncio.timeout(5):
            while True:
                status = (await client.get(STATUS)).json().get("status", {})
                found = [c for c in status.get("conditions", []) if c["reporter"] != "galley"]
                if len(found) == count:
                    return found
                await asyncio.sleep(0.02)

    async def test_a_rejection_is_shown_at_its_resource_until_that_changes(self, tmp_path: Path) -> None:
        async with running_galley(tmp_path) as galley:
            await galley.apply(virtual_service())
            async with self.reporting(galley) as reporter:
                reporter.report(self.key, resource_version="1", type="Programmed", verdict=Verdict.TRUE, reason="Acknowledged")
                reporter.report(
                    self.key,
                    resource_version="1",
                    type="Programmed",
                    verdict=Verdict.FALSE,
                    reason="RejectedByEnvoy",
                    message="no such cluster",
                )
                (condition,) = await self.conditions(galley, 1)
            assert (condition["status"], condition["reason"], condition["message"]) == ("False", "RejectedByEnvoy", "no such cluster")
            assert (condition["type"], condition["reporter"]) == ("Programmed", "pilot/host-1")
            async with galley.rest() as client:
                assert len((await client.get("/apis/fourmast.io/v1/revisions")).json()["items"]) == 1, "a report is no revision"
        async with running_galley(tmp_path) as galley:
            assert (await self.conditions(galley, 1))[0]["reason"] == "RejectedByEnvoy", "reports survive a restart"
            await galley.apply(virtual_service(host="corrected"))
            await self.conditions(galley, 0)

    async def test_only_pilot_and_mixer_report(self, galley: RunningGalley) -> None:
        await galley.apply(virtual_service())
        async with grpc_channel(reviews, galley.addresses["registration"], part="galley") as channel:
            stub: Any = v1_pb2_grpc.StatusStub(channel)  # type: ignore[no-untyped-call]
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await stub.ReportStatus(v1_pb2.ReportStatusRequest())
        assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED
        assert "pilot and mixer" in str(refused.value.details())

    async def test_reports_wait_for_galley(self, fresh_galley: RunningGalley) -> None:
        galley = fresh_galley
        await galley.apply(virtual_service())
        where = {"address": "127.0.0.1:1"}
        reporter, stopping = StatusReporter(pilot, lambda: where["address"], instance="host-1", pause=0.01), asyncio.Event()
        task = asyncio.create_task(reporter.run(stopping))
        reporter.report(self.key, resource_version="1", type="Programmed", verdict=Verdict.TRUE, reason="Acknowledged")
        await asyncio.sleep(0.1)
        where["address"] = galley.addresses["registration"]
        assert (await self.conditions(galley, 1))[0]["status"] == "True"
        stopping.set()
        await asyncio.wait_for(task, 5)
