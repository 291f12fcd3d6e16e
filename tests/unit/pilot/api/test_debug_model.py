# SPDX-License-Identifier: Apache-2.0
"""Debug pages about the real model: services, endpoints, and how far one object has come."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from common.identity.tokens import TokenVerifier
from pilot.api.debug import debug_app
from tests.unit.pilot.api.test_debug import SIGNER, token
from tests.unit.pilot.api.test_distribution import Mesh, proxy, resource, service, virtual_service


def workload(name: str, address: str) -> Any:
    spec = {"address": address, "labels": {"app": name}, "serviceAccount": name, "locality": "r1/z1"}
    return resource("WorkloadEntry", f"{name}-1", spec, 1)


@pytest.fixture
async def mesh() -> AsyncIterator[Mesh]:
    async with Mesh().running() as running:
        await running.apply(service("reviews"), virtual_service(2), workload("reviews", "10.0.0.1"))
        yield running


@pytest.fixture
async def http(mesh: Mesh) -> AsyncIterator[httpx.AsyncClient]:
    app = debug_app(mesh.discovery, TokenVerifier.from_jwks(lambda: SIGNER.jwks), lambda: None, lambda: "as a test")
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://pilot") as client:
        yield client


async def get(http: httpx.AsyncClient, path: str, **params: str) -> Any:
    answer = await http.get(path, params=params, headers=token())
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_ready_carries_the_remark(http: httpx.AsyncClient) -> None:
    assert (await http.get("/ready")).text == "as a test"


async def test_every_page_that_the_index_names_is_closed(http: httpx.AsyncClient) -> None:
    pages = await get(http, "/debug")
    assert "/debug/registryz" in pages and len(pages) >= 10
    for page in pages:
        assert (await http.get(page)).status_code == 401, page


async def test_services_and_endpoints_are_shown_as_they_are(http: httpx.AsyncClient) -> None:
    (shown,) = await get(http, "/debug/registryz")
    assert (shown["hostname"], shown["address"]) == ("reviews.default.svc.cluster.local", "240.240.0.9")
    (row,) = await get(http, "/debug/endpointz")
    assert row["svc"] == "reviews.default.svc.cluster.local:http"
    assert (row["ep"][0]["endpoint"]["Address"], row["ep"][0]["endpoint"]["Port"]) == ("10.0.0.1", 9080)
    brief = await http.get("/debug/endpointz?brief=1", headers=token())
    assert brief.text.startswith("reviews.default.svc.cluster.local:http 10.0.0.1:9080 app=reviews spiffe://")
    shards = await get(http, "/debug/endpointShardz")
    (account,) = shards["reviews.default.svc.cluster.local"]["default"]["ServiceAccounts"]
    assert account.endswith("/ns/default/sa/reviews")


async def test_other_namespaces_are_hidden(http: httpx.AsyncClient) -> None:
    for page in ("registryz", "endpointz", "configz"):
        assert (await http.get(f"/debug/{page}", headers=token("viewer", "elsewhere"))).json() == []
    asked = {"resource": "virtualservice/default/reviews"}
    assert (await http.get("/debug/config_distribution", params=asked, headers=token("viewer", "elsewhere"))).status_code == 403


async def test_distribution_of_one_object(mesh: Mesh, http: httpx.AsyncClient) -> None:
    async with proxy(mesh):
        await mesh.until(lambda: mesh.counts(virtual_service(2).key).acked == 1)
        found = await get(http, "/debug/config_distribution", resource="vs/default/reviews")
        assert (found["resource"], found["resourceVersion"]) == ("VirtualService default/reviews", "2")
        assert [(row["proxy"], row["state"]) for row in found["proxies"]] == [("sleep-1.default", "ACKED")]
        unknown = await get(http, "/debug/config_distribution", resource="vs/default/unknown")
        assert unknown["resourceVersion"] is None and unknown["proxies"] == []
        clusters = await get(http, "/debug/cdsz")
        assert "outbound|9080||reviews.default.svc.cluster.local" in {each["name"] for each in clusters[0]["Clusters"]}
        assert (await http.get("/debug/edsz", headers=token())).status_code == 404, "nobody asked for endpoints"


@pytest.mark.parametrize("name", ["", "vs", "vs/reviews", "vs/default/", "nothing/default/a", "meshpolicy/default/default"])
async def test_what_names_no_object_is_said(http: httpx.AsyncClient, name: str) -> None:
    assert (await http.get("/debug/config_distribution", params={"resource": name}, headers=token())).status_code == 422


async def test_a_kind_that_no_envoy_gets_is_told_apart(http: httpx.AsyncClient) -> None:
    answer = await http.get("/debug/config_distribution", params={"resource": "httpapispec/default/a"}, headers=token())
    assert answer.status_code == 404 and answer.json()["detail"]["code"] == "NOT_FOR_PROXIES"
