# SPDX-License-Identifier: Apache-2.0
"""Back to how it was, all or nothing, and only by those who may write each object."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from common.config.resource import Resource
from galley.sources.admission import Admission, Admitted
from tests.running_galley import RunningGalley, api_token, document, service, virtual_service

API = "/apis/fourmast.io/v1"
HOSTS = "/apis/networking.istio.io/v1alpha3/namespaces/default/virtualservices/reviews"


async def newest(client: httpx.AsyncClient) -> int:
    return int((await client.get(f"{API}/revisions?limit=1")).json()["items"][0]["revision"])


async def rolled_back(client: httpx.AsyncClient, revision: int, **more: Any) -> Any:
    answer = await client.post(f"{API}/rollback", json={"revision": revision, **more})
    assert answer.status_code == 200, answer.text
    return answer.json()


def actions(answer: Any) -> dict[str, str]:
    return {row["resource"]: row["action"] for row in answer["items"]}


async def test_one_object_comes_back_as_a_new_revision(galley: RunningGalley) -> None:
    async with galley.rest() as client:
        await galley.apply(virtual_service(host="first"), service())
        then = await newest(client)
        await galley.apply(virtual_service(host="second"), service("other"))
        now = await newest(client)
        wanted = {"kind": "vs", "namespace": "default", "name": "reviews"}
        assert actions(await rolled_back(client, then, dryRun=True, **wanted)) == {"VirtualService default/reviews": "configured"}
        assert await newest(client) == now, "a dry run stores nothing"
        answer = await rolled_back(client, then, **wanted)
        assert (actions(answer), answer["revision"]) == ({"VirtualService default/reviews": "configured"}, now + 1)
        assert (await client.get(HOSTS)).json()["spec"]["hosts"] == ["first"]
        assert (await client.get("/api/v1/namespaces/default/services/other")).status_code == 200, "only what was asked for"


async def test_everything_comes_back_together(galley: RunningGalley) -> None:
    async with galley.rest() as client:
        await galley.apply(virtual_service(host="first"), service())
        then = await newest(client)
        await galley.apply(virtual_service(host="second"), service("other"))
        await client.delete("/api/v1/namespaces/default/services/reviews")
        assert actions(await rolled_back(client, then)) == {
            "Service default/other": "deleted",
            "Service default/reviews": "created",
            "VirtualService default/reviews": "configured",
        }
        now = await newest(client)
        assert set(actions(await rolled_back(client, then)).values()) == {"unchanged"}
        assert await newest(client) == now


async def test_what_today_would_refuse_does_not_come_back(galley: RunningGalley, monkeypatch: pytest.MonkeyPatch) -> None:
    async with galley.rest() as client:
        await galley.apply(virtual_service(host="first"), service())
        then = await newest(client)
        await galley.apply(virtual_service(host="second"), document("Service", "reviews", {"ports": [{"name": "http", "port": 1}]}))
        before = await newest(client)
        looked_at = Admission.documents

        def stricter(self: Admission, documents: Any, *, namespace: str) -> list[Admitted]:
            found = looked_at(self, documents, namespace=namespace)
            return [Admitted(each.resource, (*each.problems, *_no_first(each.resource))) for each in found]

        monkeypatch.setattr(Admission, "documents", stricter)
        answer = await client.post(f"{API}/rollback", json={"revision": then})
        rows = {row["resource"]: row for row in answer.json()["items"]}
        assert answer.status_code == 422
        assert rows["VirtualService default/reviews"]["problems"] == [{"path": "spec.hosts", "message": "no host may be called first"}]
        assert {row["action"] for row in rows.values()} == {None}
        assert await newest(client) == before, "the Service did not come back either"


def _no_first(resource: Resource[Any] | None) -> tuple[Any, ...]:
    from common.config.problem import Problem

    hosts = getattr(resource.spec, "hosts", ()) if resource is not None else ()
    return (Problem(path="spec.hosts", message="no host may be called first"),) if "first" in hosts else ()


async def test_a_rollback_needs_the_right_to_write_each_object(galley: RunningGalley) -> None:
    async with galley.rest() as client:
        await galley.apply(virtual_service())
        then = await newest(client)
        await galley.apply(virtual_service(host="second"), virtual_service(host="x", namespace="other"))
        before = await newest(client)
    async with galley.rest(api_token("editor", "default")) as client:
        refused = await client.post(f"{API}/rollback", json={"revision": then})
        assert (refused.status_code, refused.json()["reason"]) == (403, "Forbidden")
        narrowed = await client.post(f"{API}/rollback", json={"revision": 0, "namespace": "other"})
        assert narrowed.status_code == 403
        assert "reviews" not in refused.text + narrowed.text, "it does not list what the caller may not see"
        assert (await client.post(f"{API}/rollback", json={"revision": then, "namespace": "default"})).status_code == 200
    async with galley.rest() as client:
        assert await newest(client) == before + 1


@pytest.mark.parametrize(
    ("path", "body", "code"),
    [
        ("rollback", {"revision": 10_000_000}, 404),
        ("rollback", {"revision": -1}, 404),
        ("rollback", {"revision": 1, "kind": "nonsense"}, 400),
        ("rollback", {"revision": "1"}, 400),
        ("rollback", [], 400),
        ("delete", {"items": [{"kind": "nonsense", "name": "x"}]}, 400),
        ("delete", {"items": [{"kind": "VirtualServise", "apiVersion": "v1", "name": "x"}]}, 400),
        ("delete", {"items": [{"kind": "vs", "name": "x"}]}, 400),
        ("delete", {"items": [{"kind": "vs", "namespace": "default", "name": "gone"}]}, 404),
    ],
)
async def test_requests_that_make_no_sense_are_refused(galley: RunningGalley, path: str, body: Any, code: int) -> None:
    async with galley.rest() as client:
        answer = await client.post(f"{API}/{path}", json=body)
    assert (answer.status_code, answer.json()["kind"]) == (code, "Status")


async def test_many_go_together_or_none(galley: RunningGalley) -> None:
    await galley.apply(virtual_service(), service())
    mine = [{"kind": "vs", "namespace": "default", "name": "reviews"}, {"kind": "svc", "namespace": "default", "name": "reviews"}]
    gone = {"kind": "vs", "namespace": "default", "name": "gone"}
    async with galley.rest() as client:
        assert (await client.post(f"{API}/delete", json={"items": [*mine, gone]})).status_code == 404
        assert (await client.get(HOSTS)).status_code == 200
        dry = (await client.post(f"{API}/delete", json={"items": mine, "dryRun": True})).json()
        assert set(actions(dry).values()) == {"deleted"}
        assert (await client.get(HOSTS)).status_code == 200
        answer = (await client.post(f"{API}/delete", json={"items": [*mine, gone], "missingOk": True})).json()
        assert [row["action"] for row in answer["items"]] == ["deleted", "deleted", "unchanged"]
        assert (await client.get(HOSTS)).status_code == 404
