# SPDX-License-Identifier: Apache-2.0
"""How far sinks are, whoever dials, and who may be one."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from common.config.kinds.networking import GATEWAY, VIRTUAL_SERVICE
from common.identity.material import WorkloadIdentity
from common.identity.spiffe import SpiffeId
from common.identity.tls import grpc_channel
from common.lifecycle.host import StartError
from common.mcp import Change, ConfigSource, Rejected
from common.mcp.client import GrpcConfigSource
from common.mcp.listening import ListeningConfigSource
from common.mcp.server import BURST
from common.proto.mcp import v1alpha1_pb2 as mcp
from common.proto.mcp import v1alpha1_pb2_grpc as mcp_grpc
from common.telemetry.metrics import process_registry
from galley.distribution.access import listed
from galley.distribution.callout import TRIGGER
from tests.running_citadel import identity_of, part_identity
from tests.running_galley import RunningGalley, authority, running_galley, virtual_service

SINKS = "/apis/fourmast.io/v1/sinks"
COLLECTIONS = (VIRTUAL_SERVICE.collection, GATEWAY.collection)


class Consumer:
    """A sink that takes everything, unless `refuse` says why not."""

    def __init__(self, source: ConfigSource) -> None:
        self.source = source
        self.refuse = ""
        self.held: dict[str, set[str]] = {}

    async def take(self, change: Change) -> None:
        if self.refuse:
            raise Rejected(self.refuse)
        before = set() if change.full else self.held[change.collection] - set(change.removed)
        self.held[change.collection] = before | {r.key.mcp_name for r in change.upserts}

    @property
    def names(self) -> set[str]:
        return {name.rpartition("/")[2] for name in self.held.get(VIRTUAL_SERVICE.collection, ())}


@contextlib.asynccontextmanager
async def consuming(source: ConfigSource) -> AsyncIterator[Consumer]:
    consumer, stopping = Consumer(source), asyncio.Event()
    task = asyncio.create_task(source.run(node_id="pilot-1", collections=COLLECTIONS, on_change=consumer.take, stopping=stopping))
    try:
        yield consumer
    finally:
        stopping.set()
        await asyncio.wait_for(task, 5)


async def sinks(galley: RunningGalley) -> list[dict[str, Any]]:
    async with galley.rest() as client:
        items: list[dict[str, Any]] = (await client.get(SINKS)).json()["items"]
        return items


async def until(seen: Callable[[], Any]) -> Any:
    async with asyncio.timeout(5):
        while not (found := seen()):
            await asyncio.sleep(0.01)
        return found


def states(galley: RunningGalley) -> dict[str, str]:
    return {row["collection"].rpartition("/")[2]: row["state"] for row in galley.life.topics["sinks"]()}


async def test_the_state_of_each_sink_is_seen_everywhere(fresh_galley: RunningGalley) -> None:
    galley = fresh_galley
    assert await sinks(galley) == []
    async with consuming(GrpcConfigSource(lambda: galley.addresses["mcp"], part_identity(authority, "pilot"))) as consumer:
        await until(lambda: states(galley) == {"virtualservices": "SYNCED", "gateways": "SYNCED"})
        consumer.refuse = "my cache is full"
        await galley.apply(virtual_service())
        await until(lambda: states(galley)["virtualservices"] == "NACK")
        (sink,) = await sinks(galley)
        assert (sink["sink"], sink["node"], sink["synced"]) == ("pilot", "pilot-1", False)
        refused = next(c for c in sink["collections"] if c["state"] == "NACK")
        assert refused["reason"] == "my cache is full"
        assert (refused["wanted"], refused["acked"]) == (f"{VIRTUAL_SERVICE.collection}/1", f"{VIRTUAL_SERVICE.collection}/0")
        assert 'galley_mcp_lagging_clients{component="galley"} 1' in process_registry.text().decode()
        assert galley.life.topics["sinks"]()[0]["state"] == "NACK", "what is wrong comes first"
        consumer.refuse = ""
        await galley.apply(virtual_service(host="other"))
        await until(lambda: states(galley)["virtualservices"] == "SYNCED")
        assert 'galley_mcp_lagging_clients{component="galley"} 0' in process_registry.text().decode()
        async with galley.rest("") as client:
            assert (await client.get(SINKS)).status_code == 401
    await until(lambda: not galley.life.topics["sinks"]())


async def test_galley_calls_a_sink_that_waits_and_calls_again(tmp_path: Path) -> None:
    pilot, addresses = part_identity(authority, "pilot"), asyncio.Queue[str]()
    async with consuming(ListeningConfigSource("127.0.0.1:0", pilot, bound=addresses.put_nowait)) as consumer:
        address = await addresses.get()
        for number in range(2):  # the second Galley takes up where the first one ended
            async with running_galley(tmp_path, mcp_address="", mcp_sinks=[f"pilot@{address}"]) as galley:
                await galley.apply(virtual_service(f"v{number}"))
                await until(lambda: consumer.names == {f"v{n}" for n in range(number + 1)})  # noqa: B023 - awaited at once
                (sink,) = await sinks(galley)
                assert sink["sink"] == f"pilot at {address} (called)"
        nacked = [entry.collection for entry in consumer.source.sink.journal if not entry.acked]  # type: ignore[attr-defined]
        assert nacked == [TRIGGER, TRIGGER], "as the protocol wants it, and ignored by the caller"
    async with running_galley(tmp_path, mcp_address="", mcp_sinks=[f"pilot@{address}"]) as galley:
        await asyncio.sleep(0.3)  # nobody is there: it keeps trying, and serves everybody else
        await galley.apply(virtual_service("later"))
        async with consuming(ListeningConfigSource(address, pilot)) as consumer:
            await until(lambda: "later" in consumer.names)


async def test_a_sink_takes_calls_of_galley_only(tmp_path: Path) -> None:
    addresses = asyncio.Queue[str]()
    async with consuming(ListeningConfigSource("127.0.0.1:0", part_identity(authority, "pilot"), bound=addresses.put_nowait)):
        stranger = part_identity(authority, "mixer")
        async with grpc_channel(stranger, await addresses.get(), part="pilot") as channel:
            call: Any = mcp_grpc.ResourceSinkStub(channel).EstablishResourceStream()  # type: ignore[no-untyped-call]
            with pytest.raises(grpc.aio.AioRpcError, match="is not Galley of this mesh"):
                await call.read()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"mcp_sinks": ["127.0.0.1:1"]}, "part@host:port"),
        ({"mcp_sinks": ["cook@h:1"]}, "part out of"),
        ({"mcp_sink_metadata": ["x"]}, "key=value"),
    ],
)
async def test_call_outs_that_cannot_be_understood_are_start_errors(tmp_path: Path, settings: dict[str, Any], words: str) -> None:
    with pytest.raises(StartError, match=words):
        async with running_galley(tmp_path, **settings):
            pass


class TestAccessList:
    pilot = SpiffeId.parse("spiffe://cluster.local/ns/istio-system/sa/istio-pilot-service-account")

    @pytest.mark.parametrize(
        "text",
        [None, "", "allowed: [", "allowed: all", "alowed: []", 'allowed: ["x"]\nisblacklist: true', "- a", "allowed: []"],
    )
    def test_every_way_in_which_a_list_is_unusable_lets_nobody_in(self, tmp_path: Path, text: str | None) -> None:
        path = tmp_path / "list.yaml"
        if text is not None:
            path.write_text(text)
        with pytest.raises(PermissionError):
            listed(path, self.pilot)

    def test_who_is_named_may_and_nobody_without_a_name(self, tmp_path: Path) -> None:
        path = tmp_path / "list.yaml"
        path.write_text(json.dumps({"allowed": [str(self.pilot)], "isblacklist": False}))
        assert listed(path, self.pilot) == str(self.pilot)
        for other in (None, SpiffeId.parse("spiffe://cluster.local/ns/istio-system/sa/other")):
            with pytest.raises(PermissionError, match="not in the access list"):
                listed(path, other)

    async def test_it_is_asked_for_each_new_stream(self, tmp_path: Path) -> None:
        path = tmp_path / "list.yaml"
        reader = identity_of(authority, "tools", "reader")
        async with running_galley(tmp_path / "state", mcp_access_list=path) as galley:
            with pytest.raises(grpc.aio.AioRpcError, match="cannot be read"):
                await first_answer(galley, part_identity(authority, "pilot"))
            path.write_text(json.dumps({"allowed": [str(reader.spiffe_id)]}))
            assert (await first_answer(galley, reader)).collection == VIRTUAL_SERVICE.collection
            with pytest.raises(grpc.aio.AioRpcError, match="not in the access list"):
                await first_answer(galley, part_identity(authority, "pilot"))


async def first_answer(galley: RunningGalley, identity: WorkloadIdentity) -> mcp.Resources:
    async with grpc_channel(identity, galley.addresses["mcp"], part="galley") as channel:
        call: Any = mcp_grpc.ResourceSourceStub(channel).EstablishResourceStream()  # type: ignore[no-untyped-call]
        await call.write(mcp.RequestResources(collection=VIRTUAL_SERVICE.collection))
        answer: mcp.Resources = await asyncio.wait_for(call.read(), 5)
        return answer


async def test_a_storm_of_streams_is_held_off_and_the_sinks_that_are_there_go_on(fresh_galley: RunningGalley) -> None:
    pilot = part_identity(authority, "pilot")
    async with consuming(GrpcConfigSource(lambda: fresh_galley.addresses["mcp"], pilot)) as consumer:
        async with grpc_channel(pilot, fresh_galley.addresses["mcp"], part="galley") as channel:
            stub: Any = mcp_grpc.ResourceSourceStub(channel)  # type: ignore[no-untyped-call]
            calls = [stub.EstablishResourceStream() for _ in range(BURST + 30)]
            codes = await asyncio.gather(*(_code(call) for call in calls))
        assert 0 < codes.count(grpc.StatusCode.RESOURCE_EXHAUSTED) <= 31  # the consumer's own stream was one of the burst
        assert codes.count(None) >= BURST - 1
        await fresh_galley.apply(virtual_service())
        await until(lambda: consumer.names == {"reviews"})


async def _code(call: Any) -> grpc.StatusCode | None:
    """How a call was refused; None when it is served."""
    try:
        await call.write(mcp.RequestResources(collection=VIRTUAL_SERVICE.collection))
        await asyncio.wait_for(call.read(), 10)
    except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
        code: grpc.StatusCode = await call.code()
        return code
    return None
