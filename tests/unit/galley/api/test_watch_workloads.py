# SPDX-License-Identifier: Apache-2.0
"""A watch over WorkloadEntries shows those that are configured and those that agents registered."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from common.identity.tls import grpc_channel
from common.proto.galley import v1_pb2, v1_pb2_grpc
from tests.running_citadel import identity_of
from tests.running_galley import RunningGalley, authority, document

ALL = "/apis/networking.istio.io/v1alpha3/workloadentries"
IN_DEFAULT = "/apis/networking.istio.io/v1alpha3/namespaces/default/workloadentries"
AS_TABLE = {"accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}


class Agent:
    """Registers workloads of one service account."""

    def __init__(self, stub: Any) -> None:
        self._stub = stub
        self._leases: dict[str, str] = {}

    async def come(self, name: str, address: str = "127.0.0.7") -> None:
        workload = v1_pb2.Workload(name=name, address=address, labels={"app": name})
        self._leases[name] = (await self._stub.Register(v1_pb2.RegisterRequest(workload=workload, healthy=True))).lease

    async def beat(self, name: str, *, healthy: bool) -> None:
        await self._stub.Heartbeat(v1_pb2.HeartbeatRequest(lease=self._leases[name], healthy=healthy))

    async def go(self, name: str) -> None:
        await self._stub.Deregister(v1_pb2.DeregisterRequest(lease=self._leases.pop(name)))

    async def all_go(self) -> None:
        for name in tuple(self._leases):
            await self.go(name)


@pytest.fixture
async def agent(galley: RunningGalley) -> AsyncIterator[Agent]:
    identity = identity_of(authority, "default", "web")
    async with grpc_channel(identity, galley.addresses["registration"], part="galley") as channel:
        agent = Agent(v1_pb2_grpc.RegistrationStub(channel))  # type: ignore[no-untyped-call]
        yield agent
        await agent.all_go()


@contextlib.asynccontextmanager
async def watching(client: httpx.AsyncClient, headers: dict[str, str] | None = None, **query: str) -> AsyncIterator[Any]:
    async with client.stream("GET", ALL, params={"watch": "1", **query}, headers=headers) as response:
        assert response.status_code == 200, await response.aread()
        lines = response.aiter_lines()

        async def event() -> dict[str, Any]:
            read: dict[str, Any] = json.loads(await asyncio.wait_for(anext(lines), 5))
            return read

        yield event


def brief(event: dict[str, Any]) -> tuple[str, str, str]:
    return event["type"], event["object"]["metadata"]["name"], event["object"]["spec"]["address"]


async def test_both_sorts_in_one_watch_and_from_any_event_onwards(galley: RunningGalley, agent: Agent) -> None:
    await agent.come("a")
    async with galley.rest() as client:
        listing = (await client.get(ALL)).json()
        assert [item["metadata"]["name"] for item in listing["items"]] == ["a"]
        async with watching(client, resourceVersion=listing["metadata"]["resourceVersion"]) as event:
            await agent.come("b")
            seen = [await event()]
            await galley.apply(document("WorkloadEntry", "byhand", {"address": "10.0.0.1"}))
            seen.append(await event())
            await agent.beat("a", healthy=False)
            seen.append(await event())
            await agent.beat("a", healthy=True)
            seen.append(await event())
            await agent.go("b")
            seen.append(await event())
        expected = [
            ("ADDED", "b", "127.0.0.7"),
            ("ADDED", "byhand", "10.0.0.1"),
            ("DELETED", "a", "127.0.0.7"),
            ("ADDED", "a", "127.0.0.7"),
            ("DELETED", "b", "127.0.0.7"),
        ]
        assert [brief(each) for each in seen] == expected
        for place, each in enumerate(seen[:-1]):
            async with watching(client, resourceVersion=each["object"]["metadata"]["resourceVersion"]) as event:
                following = [brief(await event()) for _ in expected[place + 1 :]]
            if each["object"]["metadata"]["name"] == "byhand":
                assert following[-2:] == expected[-2:], "a revision alone may repeat what happened to workloads, and leaves nothing out"
            else:
                assert following == expected[place + 1 :]


async def test_the_present_first_and_a_configured_one_hides_a_registered_one(galley: RunningGalley, agent: Agent) -> None:
    await agent.come("a")
    async with galley.rest() as client, watching(client) as event:
        assert brief(await event()) == ("ADDED", "a", "127.0.0.7")
        await galley.apply(document("WorkloadEntry", "a", {"address": "10.0.0.1"}))
        assert brief(await event()) == ("ADDED", "a", "10.0.0.1")
        await agent.beat("a", healthy=False)
        await agent.beat("a", healthy=True)
        assert (await client.delete(f"{IN_DEFAULT}/a")).status_code == 200
        assert brief(await event()) == ("MODIFIED", "a", "127.0.0.7"), "it is seen again, and was not hidden twice"


async def test_versions_of_another_start_are_gone(galley: RunningGalley, agent: Agent) -> None:
    async with galley.rest() as client:
        for version, code in (("7.999.1", 410), ("1.2.3.4", 400), ("x", 400)):
            assert (await client.get(ALL, params={"watch": "1", "resourceVersion": version})).status_code == code


async def test_a_watch_in_tables_has_one_header(galley: RunningGalley, agent: Agent) -> None:
    async with galley.rest() as client, watching(client, AS_TABLE, includeObject="Object") as event:
        await agent.come("a")
        first = (await event())["object"]
        await agent.go("a")
        second = await event()
    assert first["kind"] == "Table"
    assert [column["name"] for column in first["columnDefinitions"]][:3] == ["Name", "Address", "Age"]
    assert first["rows"][0]["cells"][:2] == ["a", "127.0.0.7"]
    assert first["rows"][0]["object"]["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]
    assert (second["type"], second["object"]["columnDefinitions"]) == ("DELETED", [])


async def test_a_streamed_list_says_where_it_ends(galley: RunningGalley, agent: Agent) -> None:
    await agent.come("a")
    async with galley.rest() as client:
        async with watching(client, sendInitialEvents="true", allowWatchBookmarks="true", resourceVersionMatch="NotOlderThan") as event:
            assert brief(await event()) == ("ADDED", "a", "127.0.0.7")
            mark = await event()
        assert (mark["type"], mark["object"]["metadata"]["annotations"]) == ("BOOKMARK", {"k8s.io/initial-events-end": "true"})
        async with watching(client, resourceVersion=mark["object"]["metadata"]["resourceVersion"]) as event:
            await agent.go("a")
            assert brief(await event())[:2] == ("DELETED", "a"), "nothing twice, nothing left out"
