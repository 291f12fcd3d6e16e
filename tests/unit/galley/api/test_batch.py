# SPDX-License-Identifier: Apache-2.0
"""All or nothing."""

from __future__ import annotations

import re
from typing import Any

from tests.running_galley import RunningGalley, document, service, virtual_service

BATCH = "/apis/fourmast.io/v1/batch"


def items(*documents: dict[str, Any]) -> dict[str, Any]:
    return {"items": [{"document": d, "source": {"file": "all.yaml", "line": 10 * n + 1}} for n, d in enumerate(documents)]}


async def test_what_was_done_is_said_for_each(galley: RunningGalley) -> None:
    async with galley.rest() as client:
        first = (await client.post(BATCH, json=items(service(), virtual_service()))).json()
        second = (await client.post(BATCH, json=items(service(), virtual_service(host="other")))).json()
    assert first["items"] == [
        {"resource": "Service default/reviews", "action": "created", "problems": []},
        {"resource": "VirtualService default/reviews", "action": "created", "problems": []},
    ]
    assert [item["action"] for item in second["items"]] == ["unchanged", "configured"]


async def test_one_bad_document_stores_none_and_every_mistake_is_named(galley: RunningGalley) -> None:
    broken, unknown = virtual_service(), document("VirtualServise", "x", {})
    broken["spec"] = {"hosts": [], "htp": []}
    newest = "/apis/fourmast.io/v1/revisions?limit=1"
    async with galley.rest() as client:
        before = (await client.get(newest)).json()
        answer = await client.post(BATCH, json=items(service(), broken, unknown))
        assert answer.status_code == 422
        rows = answer.json()["items"]
        assert (await client.get(newest)).json() == before
    assert [row["action"] for row in rows] == [None, None, None]
    assert rows[0]["problems"] == []
    assert {problem["path"] for problem in rows[1]["problems"]} >= {"spec.htp"}
    assert all(problem["line"] == 11 for problem in rows[1]["problems"])
    assert "VirtualService" in rows[2]["problems"][0]["message"]
    assert rows[2]["resource"] == "VirtualServise default/x"


async def test_the_same_object_twice_is_a_mistake(galley: RunningGalley) -> None:
    async with galley.rest() as client:
        answer = await client.post(BATCH, json=items(virtual_service(), virtual_service(host="other")))
    assert answer.status_code == 422
    assert "twice" in answer.json()["items"][1]["problems"][0]["message"]


async def test_dry_run_and_default_namespace(galley: RunningGalley) -> None:
    bare = virtual_service(namespace="")
    async with galley.rest() as client:
        answer = await client.post(BATCH, json={**items(bare), "namespace": "shop", "dryRun": True})
        assert answer.json()["items"][0] == {"resource": "VirtualService shop/reviews", "action": "created", "problems": []}
        assert (await client.get("/apis/networking.istio.io/v1alpha3/virtualservices")).json()["items"] == []


async def test_a_conflict_names_its_object(galley: RunningGalley) -> None:
    await galley.apply(virtual_service())
    stale = virtual_service(host="x")
    stale["metadata"]["resourceVersion"] = "99"
    async with galley.rest() as client:
        answer = await client.post(BATCH, json=items(service(), stale))
    assert (answer.status_code, answer.json()["details"]["name"]) == (409, "reviews")


async def test_a_batch_that_is_none(galley: RunningGalley) -> None:
    async with galley.rest() as client:
        bodies: tuple[dict[str, Any], ...] = ({}, {"items": [{}]}, {"items": [{"document": 3}]})
        for body in bodies:
            assert (await client.post(BATCH, json=body)).json()["reason"] == "BadRequest"


async def test_revisions_carry_the_trace_of_the_request(galley: RunningGalley) -> None:
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    async with galley.rest() as client:
        await client.post(BATCH, json=items(virtual_service()), headers={"traceparent": f"00-{trace}-00f067aa0ba902b7-01"})
        await client.post(BATCH, json=items(service()))
        newest, first = (await client.get("/apis/fourmast.io/v1/revisions?limit=2")).json()["items"]
    assert trace in first["traceparent"]
    assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}", newest["traceparent"])
    assert trace not in newest["traceparent"]
    assert (first["actor"], first["action"], first["source"]) == ("admin", "create", "all.yaml:1")


async def test_what_is_not_enforced_is_stored_with_a_warning(galley: RunningGalley) -> None:
    ignored: dict[str, Any] = {
        "apiVersion": "config.istio.io/v1alpha2",
        "kind": "HTTPAPISpec",
        "metadata": {"name": "x", "namespace": "default"},
    }
    ignored["spec"] = {"patterns": [{"httpMethod": "GET", "uriTemplate": "/", "attributes": {"attributes": {"a": {"boolValue": True}}}}]}
    async with galley.rest() as client:
        (row,) = (await client.post(BATCH, json=items(ignored))).json()["items"]
        one = await client.put("/apis/config.istio.io/v1alpha2/namespaces/default/httpapispecs/x", json=ignored)
    assert (row["action"], row["warnings"]) == ("created", ["HTTPAPISpec has no effect, as in Istio 1.4"])
    assert one.headers["warning"] == '299 - "HTTPAPISpec has no effect, as in Istio 1.4"'
