# SPDX-License-Identifier: Apache-2.0
"""The debug pages: closed without a token, scoped by namespace, and true."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import httpx
import pytest

from citadel.authority.api_keys import TokenSigner, new_api_key
from common.identity.tokens import Role, TokenVerifier
from common.mesh.names import TYPE_CLUSTER, TYPE_ROUTE, TYPE_VIRTUAL_HOST
from pilot.api.debug import debug_app
from pilot.xds.frames import Framed
from tests.unit.pilot.api.ads_client import AdsClient
from tests.unit.pilot.api.test_ads import WORLD, Server
from tests.unit.pilot.xds.worlds import DISCOVERED

SIGNER = TokenSigner([new_api_key()])


def token(role: Role = "viewer", *namespaces: str) -> dict[str, str]:
    signed = SIGNER.sign("somebody", role, namespaces=namespaces, lifetime=timedelta(hours=1), now=datetime.now(UTC))
    return {"authorization": f"Bearer {signed}"}


class Pages:
    def __init__(self, server: Server) -> None:
        self.server = server
        self.reason: str | None = None
        app = debug_app(server.discovery, TokenVerifier.from_jwks(lambda: SIGNER.jwks), lambda: self.reason)
        self.http = httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://pilot")


@pytest.fixture
async def pages() -> AsyncIterator[Pages]:
    async with Server().running() as server:
        await server.serve(WORLD)
        yield Pages(server)


async def test_ready_is_open_and_says_what_is_missing(pages: Pages) -> None:
    assert (await pages.http.get("/ready")).status_code == 200
    pages.reason = "waiting for configuration from Galley"
    answer = await pages.http.get("/ready")
    assert answer.status_code == 503 and answer.json() == {"reason": pages.reason}


@pytest.mark.parametrize(
    "path", ["/debug", "/debug/syncz", "/debug/adsz", "/debug/configz", "/debug/endpointz", "/debug/config_dump?proxyID=a.b"]
)
async def test_every_page_needs_a_token(pages: Pages, path: str) -> None:
    assert (await pages.http.get(path)).status_code == 401
    assert (await pages.http.get(path, headers={"authorization": "Bearer nonsense"})).status_code == 401


async def test_syncz_and_adsz_show_proxies_of_the_callers_namespaces(pages: Pages) -> None:
    async with (
        AdsClient.connected(pages.server.plain, None, namespace="one", account="a") as first,
        AdsClient.connected(pages.server.plain, None, namespace="two", account="b") as second,
    ):
        for client in (first, second):
            await client.ask(TYPE_CLUSTER)
            await client.hear()
        everything = (await pages.http.get("/debug/syncz", headers=token())).json()
        assert [row["proxy"] for row in everything] == ["a-1.one", "b-1.two"]
        scoped = (await pages.http.get("/debug/syncz", headers=token("viewer", "two"))).json()
        assert [row["proxy"] for row in scoped] == ["b-1.two"]
        assert scoped[0]["states"]["cluster"] == {"state": "STALE"} and scoped[0]["cluster_sent"]
        clients = (await pages.http.get("/debug/adsz", headers=token("viewer", "one"))).json()
        assert [(client["node"], client["clusters"]) for client in clients] == [("a-1.one", ["a"])]


async def test_config_dump_decodes_what_was_sent_and_hides_other_namespaces(pages: Pages) -> None:
    async with AdsClient.connected(pages.server.plain, None, namespace="one", account="a") as client:
        await client.ask(TYPE_CLUSTER)
        await client.hear()
        answer = await pages.http.get("/debug/config_dump", params={"proxyID": "a-1.one"}, headers=token())
        (shown,) = answer.json()["clusters"]
        assert shown["name"] == "a" and shown["resource"]["type"] == "EDS"
        hidden = await pages.http.get("/debug/config_dump", params={"proxyID": "a-1.one"}, headers=token("viewer", "two"))
        assert hidden.status_code == 404


async def test_config_dump_shows_discovered_virtual_hosts_in_their_route_configurations(pages: Pages) -> None:
    """As Envoy's own dump does, so that `proxy-config route` need not care."""
    world = WORLD.but(routes={"80": DISCOVERED, "81": DISCOVERED, "inbound": "a"}, hosts={"80/x": "a", "80/y": "a", "81/z": "a"})
    await pages.server.serve(world)
    await eventually(lambda: pages.server.discovery.epoch is not None and pages.server.discovery.epoch.push is cast(Any, world))

    async def shown() -> dict[str, list[str]]:
        answer = await pages.http.get("/debug/config_dump", params={"proxyID": "a-1.one"}, headers=token())
        assert answer.status_code == 200
        routes = {route["name"]: route["resource"] for route in answer.json()["routes"]}
        return {name: [host["name"] for host in route.get("virtual_hosts", ())] for name, route in routes.items()}

    async with AdsClient.connected(pages.server.plain, None, namespace="one", account="a") as client:
        await client.ask(TYPE_ROUTE, ["80", "81", "inbound"])
        await client.ack(await client.hear())
        assert await shown() == {"80": [], "81": [], "inbound": ["a"]}
        await client.ask(TYPE_VIRTUAL_HOST)
        response = await client.hear()
        assert await shown() == {"80": ["80/x", "80/y"], "81": ["81/z"], "inbound": ["a"]}
        (row,) = (await pages.http.get("/debug/syncz", headers=token())).json()
        assert row["states"]["virtual_host"] == {"state": "STALE"} and row["virtual_host_sent"] == response.nonce
        await client.drop(TYPE_ROUTE, ["81"])  # while that answer is out, nothing can be called removed
        await eventually(lambda: "81" not in {frame.name for frame in routes_of(pages)})
        assert await shown() == {"80": ["80/x", "80/y"], "inbound": ["a"]}
        await client.ack(response)
        assert sorted((await client.hear()).removed_resources) == ["81/z"]


async def test_a_proxy_that_discovers_no_virtual_hosts_has_no_state_of_them(pages: Pages) -> None:
    async with AdsClient.connected(pages.server.plain, None, namespace="one", account="a") as client:
        await client.ask(TYPE_CLUSTER)
        await client.hear()
        (row,) = (await pages.http.get("/debug/syncz", headers=token())).json()
        assert row["states"].keys() == {"cluster", "listener", "route", "endpoint"}


def routes_of(pages: Pages) -> list[Framed]:
    (connection,) = pages.server.discovery.connections.values()
    return list(connection.stream.subscriptions[TYPE_ROUTE].view or ())


async def eventually(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.01)


async def test_a_rejection_is_shown_with_reason_and_source(pages: Pages) -> None:
    async with AdsClient.connected(pages.server.plain, None) as client:
        await client.ask(TYPE_CLUSTER)
        await client.nack(await client.hear(), "not like this")
        rows = []
        for _ in range(100):
            rows = (await pages.http.get("/debug/syncz", headers=token())).json()
            if rows[0]["states"]["cluster"]["state"] == "REJECTED":
                break
            await asyncio.sleep(0.01)
        (rejected,) = rows[0]["states"]["cluster"]["rejected"]
        assert rejected == {"resource": "a", "reason": "not like this", "sources": [{"collection": "tests", "name": "default/a"}]}
