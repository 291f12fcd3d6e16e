# SPDX-License-Identifier: Apache-2.0
"""The official Kubernetes client for Python against Galley: it lists, watches and writes, by its own way through discovery."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from common.identity.kubeconfig import write_kubeconfig
from tests.running_galley import RunningGalley, api_token, authority, document, running_galley, service, virtual_service

api: Any = pytest.importorskip("kubernetes.client")
config: Any = pytest.importorskip("kubernetes.config")
dynamic: Any = pytest.importorskip("kubernetes.dynamic")
watch: Any = pytest.importorskip("kubernetes.watch")

NETWORKING = ("networking.istio.io", "v1alpha3")
in_thread: Any = asyncio.to_thread  # the client waits; its functions take more arguments than types can say


@pytest.fixture(scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningGalley]:
    async with running_galley(tmp_path_factory.mktemp("galley")) as running:
        yield running


@pytest.fixture
async def galley(shared: RunningGalley) -> AsyncIterator[RunningGalley]:
    yield shared
    await shared.wipe()


@pytest.fixture
def client(galley: RunningGalley, tmp_path: Path) -> Any:
    """Configured by a kubeconfig alone."""
    roots, path = tmp_path / "roots.pem", tmp_path / "kubeconfig"
    roots.write_bytes(authority.bundle_pem)
    write_kubeconfig(path, name="test", galley=galley.addresses["rest"], roots=roots, token=api_token())
    return config.new_client_from_config(str(path))


async def test_lists_of_custom_and_of_core_objects(galley: RunningGalley, client: Any) -> None:
    await galley.apply(virtual_service("a"), virtual_service("b", namespace="other"), service("web"))
    objects, core = api.CustomObjectsApi(client), api.CoreV1Api(client)
    everywhere = await in_thread(objects.list_cluster_custom_object, *NETWORKING, "virtualservices")
    assert [item["metadata"]["name"] for item in everywhere["items"]] == ["a", "b"]
    async with (
        galley.rest() as http,
        asyncio.timeout(15),
    ):  # the analysis' condition is part of the object that the client's model must take
        while not (await http.get("/api/v1/namespaces/default/services/web")).json().get("status", {}).get("conditions"):
            await asyncio.sleep(0.05)
    (found,) = (await in_thread(core.list_namespaced_service, "default")).items
    assert (found.metadata.name, found.spec.ports[0].port) == ("web", 9080)
    version = await in_thread(api.VersionApi(client).get_code)
    assert version.git_version.startswith("v1.")


async def test_a_watch_goes_on_where_the_list_ended(galley: RunningGalley, client: Any) -> None:
    await galley.apply(virtual_service("a"))
    objects, stream = api.CustomObjectsApi(client), watch.Watch()
    listing = await in_thread(objects.list_namespaced_custom_object, *NETWORKING, "default", "virtualservices")
    loop, events = asyncio.get_running_loop(), asyncio.Queue[tuple[str, str]]()

    def follow() -> None:
        version = listing["metadata"]["resourceVersion"]
        arguments = (*NETWORKING, "default", "virtualservices")
        for event in stream.stream(objects.list_namespaced_custom_object, *arguments, resource_version=version, timeout_seconds=30):
            loop.call_soon_threadsafe(events.put_nowait, (event["type"], event["object"]["metadata"]["name"]))
            if event["type"] == "DELETED":
                stream.stop()

    following = asyncio.create_task(in_thread(follow))
    await galley.apply(virtual_service("b"))
    assert await asyncio.wait_for(events.get(), 15) == ("ADDED", "b")
    await galley.apply(virtual_service("b", host="other"))
    assert await asyncio.wait_for(events.get(), 15) == ("MODIFIED", "b")
    await in_thread(objects.delete_namespaced_custom_object, *NETWORKING, "default", "virtualservices", "a")
    assert await asyncio.wait_for(events.get(), 15) == ("DELETED", "a")
    await asyncio.wait_for(following, 15)


async def test_a_version_too_old_raises_gone(galley: RunningGalley, client: Any) -> None:
    objects = api.CustomObjectsApi(client)

    def follow() -> None:
        arguments = (*NETWORKING, "default", "virtualservices")
        for _ in watch.Watch().stream(objects.list_namespaced_custom_object, *arguments, resource_version="999999", timeout_seconds=5):
            raise AssertionError("nothing was written")

    with pytest.raises(api.ApiException) as gone:
        await in_thread(follow)
    assert gone.value.status == 410


async def test_the_dynamic_client_finds_kinds_and_writes(galley: RunningGalley, client: Any) -> None:
    def work() -> tuple[Any, Any]:
        rules = dynamic.DynamicClient(client).resources.get(api_version="networking.istio.io/v1alpha3", kind="DestinationRule")
        created = rules.create(body=document("DestinationRule", "web", {"host": "web"}), namespace="default")
        merge = {"content_type": "application/merge-patch+json"}
        patched = rules.patch(name="web", namespace="default", body={"spec": {"host": "web.default"}}, **merge)
        return created, patched

    created, patched = await in_thread(work)
    assert (created.spec.host, created.metadata.generation) == ("web", 1)
    assert (patched.spec.host, patched.metadata.generation) == ("web.default", 2)


async def test_an_invalid_object_is_an_api_exception_with_its_causes(galley: RunningGalley, client: Any) -> None:
    objects = api.CustomObjectsApi(client)
    wrong = virtual_service() | {"spec": {"host": ["x"]}}
    with pytest.raises(api.ApiException) as refused:
        await in_thread(objects.create_namespaced_custom_object, *NETWORKING, "default", "virtualservices", wrong)
    assert (refused.value.status, "did you mean 'hosts'" in str(refused.value.body)) == (422, True)
