# SPDX-License-Identifier: Apache-2.0
"""Watches: no event is lost between a list and its watch, whatever happens in between."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx

from tests.running_galley import RunningGalley, api_token, running_galley, service, virtual_service

ALL = "/apis/networking.istio.io/v1alpha3/virtualservices"


@contextlib.asynccontextmanager
async def watching(client: httpx.AsyncClient, **query: str) -> AsyncIterator[AsyncIterator[dict[str, Any]]]:
    async with client.stream("GET", ALL, params={"watch": "1", **query}) as response:
        assert response.status_code == 200, await response.aread()

        async def events() -> AsyncIterator[dict[str, Any]]:
            async for line in response.aiter_lines():
                yield json.loads(line)

        yield events()


async def next_of(events: AsyncIterator[dict[str, Any]], within: float = 5.0) -> tuple[str, str]:
    event = await asyncio.wait_for(anext(events), within)
    return event["type"], event["object"]["metadata"]["name"]


async def test_a_watch_continues_a_list(galley: RunningGalley) -> None:
    await galley.apply(virtual_service("before"))
    async with galley.rest() as client:
        version = (await client.get(ALL)).json()["metadata"]["resourceVersion"]
        await galley.apply(virtual_service("between"))
        async with watching(client, resourceVersion=version) as events:
            assert await next_of(events) == ("ADDED", "between")
            await galley.apply(service(), virtual_service("between", host="x"))
            assert await next_of(events) == ("MODIFIED", "between")
            async with galley.rest() as other:
                await other.delete("/apis/networking.istio.io/v1alpha3/namespaces/default/virtualservices/between")
            assert await next_of(events) == ("DELETED", "between")


async def test_without_a_version_the_present_comes_first(galley: RunningGalley) -> None:
    await galley.apply(virtual_service("a"), virtual_service("b"))
    async with galley.rest() as client, watching(client) as events:
        assert {await next_of(events), await next_of(events)} == {("ADDED", "a"), ("ADDED", "b")}
        await galley.apply(virtual_service("c"))
        assert await next_of(events) == ("ADDED", "c")


async def test_many_writes_arrive_once_each_and_in_order(galley: RunningGalley) -> None:
    async with galley.rest() as client, watching(client, resourceVersion="0") as events:
        writing = asyncio.gather(*(galley.apply(virtual_service(f"v{n}")) for n in range(25)))
        versions = []
        for _ in range(25):
            event = await asyncio.wait_for(anext(events), 5)
            versions.append(int(event["object"]["metadata"]["resourceVersion"]))
        await writing
    assert versions == sorted(set(versions))


async def test_a_watch_is_narrowed_like_a_list(galley: RunningGalley) -> None:
    async with galley.rest() as client, watching(client, fieldSelector="metadata.name=b") as events:
        await galley.apply(virtual_service("a"), virtual_service("b"))
        assert await next_of(events) == ("ADDED", "b")


def labelled(name: str, **labels: str) -> dict[str, Any]:
    wanted = virtual_service(name)
    wanted["metadata"]["labels"] = labels
    return wanted


async def test_to_a_watch_over_labels_what_no_longer_matches_is_gone(galley: RunningGalley) -> None:
    await galley.apply(labelled("a", app="x"), labelled("b", app="y"))
    async with galley.rest() as client:
        version = (await client.get(ALL, params={"labelSelector": "app=x"})).json()["metadata"]["resourceVersion"]
        async with watching(client, labelSelector="app=x", resourceVersion=version) as events:
            await galley.apply(labelled("b", app="y", tier="1"), labelled("a", app="y"))
            await galley.apply(labelled("b", app="x"))
            assert await next_of(events) == ("DELETED", "a")
            assert await next_of(events) == ("ADDED", "b")
            await galley.apply(labelled("b", app="x", tier="2"), labelled("c", app="y"))
            await galley.apply(labelled("c", app="x"))
            assert await next_of(events) == ("MODIFIED", "b")
            assert await next_of(events) == ("ADDED", "c")
            await client.delete("/apis/networking.istio.io/v1alpha3/namespaces/default/virtualservices/a")
            await client.delete("/apis/networking.istio.io/v1alpha3/namespaces/default/virtualservices/b")
            assert await next_of(events) == ("DELETED", "b")
        async with watching(client, labelSelector="app=x", resourceVersion=version) as events:
            seen = [await next_of(events) for _ in range(4)]
        assert ("DELETED", "a") in seen, "and so for a client that comes back"


async def test_a_version_that_is_not_known_is_gone(galley: RunningGalley) -> None:
    async with galley.rest() as client:
        answer = await client.get(ALL, params={"watch": "1", "resourceVersion": "999999"})
        assert (answer.status_code, answer.json()["reason"]) == (410, "Expired")
        answer = await client.get(ALL, params={"watch": "1", "resourceVersion": "x"})
        assert answer.status_code == 400


async def test_a_watch_ends_when_asked_and_survives_a_restart_by_its_version(tmp_path: Path) -> None:
    async with running_galley(tmp_path) as galley:
        await galley.apply(virtual_service("a"))
        async with galley.rest() as client, watching(client, timeoutSeconds="0.1") as events:
            assert [e["type"] async for e in events] == ["ADDED"]
        async with galley.rest() as client, watching(client) as events:
            await next_of(events)
            galley.life.stopping.set()
            assert [e async for e in events] == [], "stopping ends the stream instead of cutting it"
    async with running_galley(tmp_path) as galley:
        await galley.apply(virtual_service("b"))
        async with galley.rest() as client, watching(client, resourceVersion="1") as events:
            assert await next_of(events) == ("ADDED", "b")


async def test_a_bounded_viewer_watches_its_namespaces_only(galley: RunningGalley) -> None:
    await galley.apply(virtual_service("theirs", namespace="other", host="secret"), virtual_service("mine"))
    async with galley.rest(api_token("viewer", "default")) as client:
        for query in ({}, {"resourceVersion": "1"}, {"labelSelector": "app!=x"}, {"sendInitialEvents": "true", "allowWatchBookmarks": "1"}):
            async with watching(client, timeoutSeconds="1", **query) as events:
                await galley.apply(virtual_service("theirs", namespace="other", host="secret"))
                async with galley.rest() as other:
                    await other.delete("/apis/networking.istio.io/v1alpha3/namespaces/other/virtualservices/theirs")
                told = [event async for event in events]
            assert "mine" in str(told) or "resourceVersion" in query
            assert "secret" not in str(told)
            assert "theirs" not in str(told)
