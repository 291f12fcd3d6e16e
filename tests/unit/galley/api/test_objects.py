# SPDX-License-Identifier: Apache-2.0
"""The Kubernetes-shaped REST of a running Galley, over HTTPS with tokens."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from tests.running_galley import RunningGalley, api_token, document, service, virtual_service

ISTIO = "/apis/networking.istio.io/v1alpha3"
IN_DEFAULT = f"{ISTIO}/namespaces/default/virtualservices"
REVIEWS = f"{IN_DEFAULT}/reviews"
MERGE = {"content-type": "application/merge-patch+json"}


def is_status(answer: httpx.Response, code: int, reason: str, *words: str) -> bool:
    """An error in Kubernetes' form whose message has all the words."""
    body = answer.json()
    assert (answer.status_code, body["kind"], body["status"], body["code"], body["reason"]) == (code, "Status", "Failure", code, reason)
    for word in words:
        assert word in body["message"], body["message"]
    return True


async def test_the_life_of_an_object(galley: RunningGalley) -> None:
    async with galley.rest() as client:
        created = await client.post(IN_DEFAULT, json=virtual_service())
        assert created.status_code == 201
        assert created.json()["metadata"]["generation"] == 1

        got = (await client.get(REVIEWS)).json()
        assert got == created.json()

        got["spec"]["hosts"] = ["reviews", "also"]
        replaced = await client.put(REVIEWS, json=got)
        assert (replaced.status_code, replaced.json()["metadata"]["generation"]) == (200, 2)
        versions = f"is at version {replaced.json()['metadata']['resourceVersion']}, not {got['metadata']['resourceVersion']}"
        assert is_status(await client.put(REVIEWS, json=got), 409, "Conflict", "VirtualService default/reviews", versions)

        patched = await client.patch(REVIEWS, json={"metadata": {"labels": {"a": "b"}}, "spec": {"hosts": ["only"]}}, headers=MERGE)
        assert patched.status_code == 200
        assert (patched.json()["spec"]["hosts"], patched.json()["metadata"]["labels"]) == (["only"], {"a": "b"})
        unlabelled = await client.patch(REVIEWS, json={"metadata": {"labels": None}}, headers=MERGE)
        assert "labels" not in unlabelled.json()["metadata"]

        deleted = await client.delete(REVIEWS)
        assert (deleted.status_code, deleted.json()["status"]) == (200, "Success")
        assert is_status(await client.get(REVIEWS), 404, "NotFound", "VirtualService default/reviews does not exist")


async def test_lists_of_a_namespace_and_of_all(galley: RunningGalley) -> None:
    revision = (await galley.apply(virtual_service("a"), virtual_service("b", namespace="other"), service()))["revision"]
    async with galley.rest() as client:
        everywhere, here = (await client.get(f"{ISTIO}/virtualservices")).json(), (await client.get(IN_DEFAULT)).json()
    assert everywhere["kind"] == "VirtualServiceList"
    assert [item["metadata"]["name"] for item in everywhere["items"]] == ["a", "b"]
    assert [item["metadata"]["name"] for item in here["items"]] == ["a"]
    assert here["metadata"]["resourceVersion"] == str(revision), "the version of the whole store: a watch may begin there"


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("labelSelector=app=web", ["a"]),
        ("labelSelector=app!=web", ["b", "c"]),
        ("labelSelector=app in (web, db)", ["a", "b"]),
        ("labelSelector=app notin (web)", ["b", "c"]),
        ("labelSelector=app", ["a", "b"]),
        ("labelSelector=!app", ["c"]),
        ("labelSelector=app=web,tier=1", ["a"]),
        ("fieldSelector=metadata.name=b", ["b"]),
        ("fieldSelector=metadata.name!=b", ["a", "c"]),
    ],
)
async def test_selectors(galley: RunningGalley, query: str, names: list[str]) -> None:
    labels = {"a": {"app": "web", "tier": "1"}, "b": {"app": "db"}, "c": {}}
    documents = [virtual_service(name) for name in labels]
    for each in documents:
        each["metadata"]["labels"] = labels[each["metadata"]["name"]]
    await galley.apply(*documents)
    async with galley.rest() as client:
        items = (await client.get(f"{IN_DEFAULT}?{query}")).json()["items"]
    assert [item["metadata"]["name"] for item in items] == names


async def test_mistakes_in_selectors_are_named(galley: RunningGalley) -> None:
    async with galley.rest() as client:
        assert is_status(await client.get(f"{IN_DEFAULT}?labelSelector=a==b=c"), 400, "BadRequest", "labelSelector")
        assert is_status(await client.get(f"{IN_DEFAULT}?fieldSelector=spec.x=1"), 400, "BadRequest", "fieldSelector", "metadata.name")


async def test_an_invalid_object_is_refused_with_its_field_and_a_remedy(galley: RunningGalley) -> None:
    broken = virtual_service()
    broken["spec"]["http"][0]["rout"] = broken["spec"]["http"][0].pop("route")
    async with galley.rest() as client:
        answer = await client.post(IN_DEFAULT, json=broken)
        assert is_status(answer, 422, "Invalid", "VirtualService default/reviews", "spec.http[0].rout", "did you mean 'route'")
        assert answer.json()["details"]["causes"][0]["field"] == "spec.http[0].rout"
        assert (await client.get(f"{ISTIO}/virtualservices")).json()["items"] == []


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"{", ["not JSON"]),
        (b"[]", ["must be a JSON object"]),
        (b'{"a":' * 5000 + b"1" + b"}" * 5000, ["nested"]),
    ],
)
async def test_bodies_that_are_no_documents(galley: RunningGalley, body: bytes, words: list[str]) -> None:
    async with galley.rest() as client:
        assert is_status(await client.post(IN_DEFAULT, content=body), 400, "BadRequest", *words)


async def test_the_body_must_fit_the_url(galley: RunningGalley) -> None:
    async with galley.rest() as client:
        assert is_status(await client.post(IN_DEFAULT, json=service()), 400, "BadRequest", "v1 Service", "VirtualService")
        other = virtual_service(namespace="other")
        assert is_status(await client.post(IN_DEFAULT, json=other), 400, "BadRequest", "'other'", "'default'")
        assert is_status(await client.put(REVIEWS, json=virtual_service("else")), 400, "BadRequest", "'else'", "'reviews'")
        assert is_status(await client.get(f"{ISTIO}/virtualservices/reviews"), 404, "NotFound", "namespaced")
        assert is_status(await client.get(f"{ISTIO}/nothings"), 404, "NotFound", "nothings")
        assert is_status(await client.get("/nowhere"), 404, "NotFound")
        server_side = {"content-type": "application/apply-patch+yaml"}
        await client.post(IN_DEFAULT, json=virtual_service())
        assert is_status(await client.patch(REVIEWS, json={}, headers=server_side), 415, "UnsupportedMediaType", "merge-patch+json")


async def test_too_large_a_body_is_not_read(galley: RunningGalley) -> None:
    async def endless() -> Any:
        for _ in range(100):
            yield b"x" * 65536

    async with galley.rest() as client:
        assert is_status(await client.post(IN_DEFAULT, content=b"x" * (4 * 1024 * 1024 + 1)), 413, "RequestEntityTooLarge", "4194304")
        assert is_status(await client.post(IN_DEFAULT, content=endless()), 413, "RequestEntityTooLarge")


async def test_dry_run_stores_nothing(galley: RunningGalley) -> None:
    async with galley.rest() as client:
        assert (await client.post(f"{IN_DEFAULT}?dryRun=All", json=virtual_service())).status_code == 201
        assert (await client.get(REVIEWS)).status_code == 404
        await galley.apply(virtual_service())
        assert (await client.delete(f"{REVIEWS}?dryRun=All")).status_code == 200
        assert (await client.get(REVIEWS)).status_code == 200
        assert is_status(await client.delete(f"{REVIEWS}?dryRun=some"), 400, "BadRequest", "All")


async def test_a_dry_run_answers_with_the_present_status_and_version(galley: RunningGalley) -> None:
    """`kubectl diff` compares this answer with the object, and should show the change alone."""
    await galley.apply(virtual_service())
    await asyncio.sleep(0.5)  # the analysis speaks
    async with galley.rest() as client:
        present = (await client.get(REVIEWS)).json()
        patch = {"spec": {"hosts": ["other"]}}
        dry = (await client.patch(f"{REVIEWS}?dryRun=All", json=patch, headers=MERGE)).json()
        assert present["status"]["conditions"]
        assert dry["metadata"] == present["metadata"] | {"generation": 2}
        assert dry == present | {"spec": present["spec"] | patch["spec"], "metadata": dry["metadata"]}
        assert (await client.get(REVIEWS)).json()["spec"]["hosts"] == ["reviews"]
        ratings = virtual_service("ratings")
        new = (await client.post(f"{IN_DEFAULT}?dryRun=All", json=ratings)).json()
        assert new["spec"] == ratings["spec"]


async def test_kinds_of_kubernetes_show_its_defaults_and_may_be_sent_back_with_them(galley: RunningGalley) -> None:
    await galley.apply(service(), {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}})
    async with galley.rest() as client:
        path = "/api/v1/namespaces/default/services/reviews"
        shown = (await client.get(path)).json()
        assert (shown["spec"]["type"], shown["spec"]["ports"][0]["protocol"]) == ("ClusterIP", "TCP")
        assert (await client.get("/api/v1/namespaces/shop")).json()["status"]["phase"] == "Active"
        again = (await client.put(path, json=shown)).json()
        assert again["metadata"]["resourceVersion"] == shown["metadata"]["resourceVersion"], "no change"


async def test_structural_mistakes_name_the_object(galley: RunningGalley) -> None:
    """kubectl prints `The VirtualService "reviews" is invalid` from these details."""
    wrong = virtual_service() | {"spec": {"hosts": "x"}}
    async with galley.rest() as client:
        details = (await client.post(IN_DEFAULT, json=wrong)).json()["details"]
    assert (details["kind"], details["name"], details["group"]) == ("VirtualService", "reviews", "networking.istio.io")


async def test_deletion_preconditions(galley: RunningGalley) -> None:
    await galley.apply(virtual_service())
    async with galley.rest() as client:
        wrong = await client.request("DELETE", REVIEWS, json={"preconditions": {"uid": "another"}})
        assert is_status(wrong, 409, "Conflict", "another")
        uid = (await client.get(REVIEWS)).json()["metadata"]["uid"]
        assert (await client.request("DELETE", REVIEWS, json={"preconditions": {"uid": uid}})).status_code == 200


async def test_cluster_scoped_and_core_kinds(galley: RunningGalley) -> None:
    namespaces = "/api/v1/namespaces"
    async with galley.rest() as client:
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}
        assert (await client.post(namespaces, json=body)).status_code == 201
        assert [n["metadata"]["name"] for n in (await client.get(namespaces)).json()["items"]] == ["shop"]
        assert (await client.get(f"{namespaces}/shop")).status_code == 200
        assert (await client.post(f"{namespaces}/shop/services", json=service(namespace="shop"))).status_code == 201
        stored = (await client.get(f"{namespaces}/shop/services/reviews")).json()
        assert stored["spec"]["clusterIP"].startswith("240.240.")
        assert (await client.delete(f"{namespaces}/shop")).status_code == 200


async def test_the_status_subresource_is_the_object(galley: RunningGalley) -> None:
    await galley.apply(virtual_service())
    async with galley.rest() as client:
        assert (await client.get(f"{REVIEWS}/status")).json()["metadata"]["name"] == "reviews"


async def test_discovery_leads_to_every_kind(galley: RunningGalley) -> None:
    from common.config.registry import registry

    found = set()
    async with galley.rest() as client:
        assert (await client.get("/version")).json()["gitVersion"].startswith("v1.")
        paths = ["/api/v1"] + [
            f"/apis/{version['groupVersion']}" for group in (await client.get("/apis")).json()["groups"] for version in group["versions"]
        ]
        assert (await client.get("/api")).json()["versions"] == ["v1"]
        for path in paths:
            listing = (await client.get(path)).json()
            assert listing["groupVersion"] == path.removeprefix("/apis/").removeprefix("/api/")
            for entry in listing["resources"]:
                if "/" not in entry["name"]:
                    assert (await client.get(f"{path}/{entry['name']}")).status_code == 200
                    found.add((listing["groupVersion"], entry["kind"]))
        assert is_status(await client.get("/apis/nothing.io"), 404, "NotFound")
        assert is_status(await client.get("/apis/networking.istio.io/v9"), 404, "NotFound")
    assert found == {(kind.api_version, kind.name) for kind in registry}


async def test_discovery_names_categories_and_no_version_without_kinds(galley: RunningGalley) -> None:
    async with galley.rest() as client:
        names = [group["name"] for group in (await client.get("/apis")).json()["groups"]]
        assert "fourmast.io" not in names, "kubectl would take it for an outage"
        listing = (await client.get("/apis/networking.istio.io/v1alpha3")).json()
    categories = {entry["name"]: entry.get("categories") for entry in listing["resources"]}
    assert categories["virtualservices"] == ["istio-io", "networking-istio-io"]


@pytest.mark.parametrize("path", ["/api", "/apis", IN_DEFAULT, REVIEWS, "/apis/fourmast.io/v1/findings", "/apis/fourmast.io/v1/revisions"])
async def test_nothing_is_said_without_a_token(galley: RunningGalley, path: str) -> None:
    async with galley.rest("") as client:
        assert is_status(await client.get(path), 401, "Unauthorized")
    async with galley.rest("made.up.token") as client:
        assert is_status(await client.get(path), 401, "Unauthorized")
    async with galley.rest(api_token("viewer")) as client:
        assert (await client.get(path)).status_code in (200, 404)


async def test_authentication_comes_before_reading_the_body(galley: RunningGalley) -> None:
    async with galley.rest("") as client:
        assert is_status(await client.post(IN_DEFAULT, content=b"{"), 401, "Unauthorized")
        assert is_status(await client.post("/apis/fourmast.io/v1/batch", content=b"{"), 401, "Unauthorized")


STDIO = {"compiledAdapter": "stdio", "params": {"outputAsJson": True}}
WRITES_FILES: dict[str, Any] = {"compiledAdapter": "stdio", "params": {"logStream": "FILE", "outputPath": "/tmp/x"}}
FETCHES = {"compiledAdapter": "listchecker", "params": {"providerUrl": "http://169.254.169.254/", "blacklist": False}}
SOCKET: dict[str, Any] = {
    "hosts": ["a.example"],
    "ports": [{"number": 80, "name": "http", "protocol": "HTTP"}],
    "resolution": "STATIC",
    "endpoints": [{"address": "unix:///run/envoy/admin.sock"}],
}
DENIES: dict[str, Any] = {"compiledAdapter": "denier", "params": {"status": {"code": 7, "message": "no"}}}


@pytest.mark.parametrize(
    ("token", "wanted", "code"),
    [
        (("viewer",), virtual_service(), 403),
        (("editor",), virtual_service(), 201),
        (("editor", "default"), virtual_service(), 201),
        (("editor", "other"), virtual_service(), 403),
        (("editor",), virtual_service(namespace="istio-system"), 403),
        (("admin",), virtual_service(namespace="istio-system"), 201),
        (("editor",), document("MeshConfig", "default", {}, namespace="istio-system"), 403),
        (("editor",), document("handler", "h", DENIES), 201),
        (("editor",), document("handler", "h", STDIO), 201),
        (("editor",), document("handler", "h", WRITES_FILES), 403),
        (("editor",), document("handler", "h", FETCHES), 403),
        (("editor",), document("denier", "h", DENIES["params"], api="config.istio.io/v1alpha2"), 201),
        (("editor",), document("stdio", "h", WRITES_FILES["params"], api="config.istio.io/v1alpha2"), 403),
        (("editor",), document("fluentd", "h", {}, api="config.istio.io/v1alpha2"), 403),
        (("editor",), document("EnvoyFilter", "f", {}, api="networking.istio.io/v1alpha3"), 403),
        (("editor",), document("adapter", "a", {}, api="config.istio.io/v1alpha2"), 403),
        (("editor",), document("template", "t", {}, api="config.istio.io/v1alpha2"), 403),
        (("editor",), document("ServiceEntry", "s", SOCKET, api="networking.istio.io/v1alpha3"), 403),
        (("admin",), document("ServiceEntry", "s", SOCKET, api="networking.istio.io/v1alpha3"), 201),
        (("editor",), document("WorkloadEntry", "w", {"address": "unix:///run/sds"}, api="networking.istio.io/v1alpha3"), 403),
        (("editor",), document("attributemanifest", "m", {"attributes": {}}, api="config.istio.io/v1alpha2"), 403),
        (("editor",), {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "x"}}, 403),
    ],
)
async def test_roles(galley: RunningGalley, token: Any, wanted: dict[str, Any], code: int) -> None:
    group, _, version = wanted["apiVersion"].rpartition("/")
    plural = {
        "MeshConfig": "meshconfigs",
        "ServiceEntry": "serviceentries",
        "VirtualService": "virtualservices",
        "WorkloadEntry": "workloadentries",
    }.get(wanted["kind"], wanted["kind"].lower() + "s")
    namespace = wanted["metadata"].get("namespace")
    path = f"/{'apis/' + group if group else 'api'}/{version}/{f'namespaces/{namespace}/' if namespace else ''}{plural}"
    async with galley.rest(api_token(*token)) as client:
        one = await client.post(path, json=wanted)
        assert one.status_code == code, one.text
        if code == 403:
            assert is_status(one, 403, "Forbidden", "may not write", wanted["metadata"]["name"])
        batch = await client.post("/apis/fourmast.io/v1/batch", json={"items": [{"document": wanted}]})
    assert batch.status_code == (200 if code == 201 else code), "the batch endpoint is no way around"


async def test_an_editor_can_neither_edit_nor_delete_what_reaches_out(galley: RunningGalley) -> None:
    await galley.apply(document("handler", "h", WRITES_FILES))
    path = "/apis/config.istio.io/v1alpha2/namespaces/default/handlers/h"
    async with galley.rest(api_token("editor")) as client:
        assert is_status(await client.put(path, json=document("handler", "h", DENIES)), 403, "Forbidden", "writes files or connects")
        assert is_status(await client.delete(path), 403, "Forbidden")
        assert is_status(await client.patch(path, json={"spec": {"params": {}}}, headers=MERGE), 403, "Forbidden")


@pytest.mark.parametrize("token", [("viewer", "default"), ("editor", "default"), ("viewer",)])
async def test_a_patch_is_no_way_to_read_what_one_may_not_write(galley: RunningGalley, token: Any) -> None:
    await galley.apply(virtual_service(namespace="other", host="secret"))
    path = f"{ISTIO}/namespaces/other/virtualservices/reviews"
    json_patch = {"content-type": "application/json-patch+json"}
    async with galley.rest(api_token(*token)) as client:
        for guess in ("secret", "wrong"):
            answer = await client.patch(path, json=[{"op": "test", "path": "/spec/hosts/0", "value": guess}], headers=json_patch)
            assert is_status(answer, 403, "Forbidden")
        assert is_status(await client.patch(path, json={"spec": {"hosts": 1}}, headers=MERGE), 403, "Forbidden")
        absent = f"{ISTIO}/namespaces/other/virtualservices/absent"
        assert is_status(await client.patch(absent, json={}, headers=MERGE), 403, "Forbidden"), "nor to learn what exists"


async def test_a_bounded_viewer_sees_its_namespaces_only(galley: RunningGalley) -> None:
    await galley.apply(virtual_service("mine"), virtual_service("theirs", namespace="other"))
    async with galley.rest(api_token("viewer", "default")) as client:
        everywhere = (await client.get(f"{ISTIO}/virtualservices")).json()["items"]
        assert [item["metadata"]["name"] for item in everywhere] == ["mine"]
        assert is_status(await client.get(f"{ISTIO}/namespaces/other/virtualservices"), 403, "Forbidden", "namespace other")
        assert is_status(await client.get(f"{ISTIO}/namespaces/other/virtualservices/theirs"), 403, "Forbidden")
        revisions = (await client.get("/apis/fourmast.io/v1/revisions?limit=1000")).json()["items"]
        assert revisions[0]["resource"] == "VirtualService default/mine"
        assert all(" other/" not in item["resource"] for item in revisions)
        assert is_status(await client.get("/apis/fourmast.io/v1/sources"), 403, "Forbidden", "admin")


async def test_only_creating_generates_names(galley: RunningGalley) -> None:
    unnamed = virtual_service()
    unnamed["metadata"] = {"generateName": "reviews-", "namespace": "default"}
    path = "/apis/networking.istio.io/v1alpha3/namespaces/default/virtualservices"
    async with galley.rest() as client:
        names = {(await client.post(path, json=unnamed)).json()["metadata"]["name"] for _ in range(2)}
        assert len(names) == 2
        assert all(name.startswith("reviews-") and len(name) == len("reviews-") + 5 for name in names)
        answer = await client.post("/apis/fourmast.io/v1/batch", json={"items": [{"document": unnamed}]})
        assert answer.status_code == 422
        (problem,) = answer.json()["items"][0]["problems"]
        assert (problem["path"], problem["message"]) == (
            "metadata.generateName",
            "a generated name would make another object each time; write metadata.name",
        )
