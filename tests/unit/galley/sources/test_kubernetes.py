# SPDX-License-Identifier: Apache-2.0
"""What a Kubernetes API server says becomes ours: against Galley's own API, which speaks the same protocol, and on a scripted one."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from common.config.kinds.core import SERVICE
from common.config.kinds.networking import VIRTUAL_SERVICE
from common.config.registry import Kind
from common.identity.kubeconfig import write_kubeconfig
from common.lifecycle.host import StartError
from galley.errors import ConflictError
from galley.sources.admission import Admission
from galley.sources.kubernetes import OWNER, KubernetesSource
from galley.sources.kubernetes_api import connected
from galley.sources.reflector import ApiError, Listing, Object, WatchEvent
from galley.store.model import Origin, Put
from galley.store.store import Store
from tests.running_galley import RunningGalley, api_token, authority, document, running_galley, service, virtual_service
from tests.unit.galley.store import worlds

KINDS = (VIRTUAL_SERVICE, SERVICE)


class Cluster:
    """An API server in memory; watches hear of what happens after they began."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str], Object] = {}
        self.down = False
        self._version = 0
        self._watches: list[tuple[Kind, asyncio.Queue[WatchEvent]]] = []

    def put(self, found: Mapping[str, Any]) -> None:
        self._tell("MODIFIED", {**found, "metadata": {**found["metadata"], "resourceVersion": str(self._next())}})

    def delete(self, kind: str, name: str) -> None:
        self._tell("DELETED", self.objects[kind, name])

    def _tell(self, type_: Any, found: Object) -> None:
        place = (found["kind"], found["metadata"]["name"])
        if type_ == "DELETED":
            del self.objects[place]
        else:
            self.objects[place] = found
        for kind, queue in self._watches:
            if kind.name == found["kind"]:
                queue.put_nowait(WatchEvent(type_, found))

    def _next(self) -> int:
        self._version += 1
        return self._version

    async def list_all(self, kind: Kind) -> Listing:
        if self.down:
            raise ApiError("down")
        items = [{k: v for k, v in o.items() if k not in ("apiVersion", "kind")} for o in self.objects.values() if o["kind"] == kind.name]
        return Listing(str(self._version), items)

    async def watch(self, kind: Kind, version: str, *, seconds: float) -> AsyncGenerator[WatchEvent, None]:
        queue: asyncio.Queue[WatchEvent] = asyncio.Queue()
        self._watches.append((kind, queue))
        while True:
            yield await queue.get()


@contextlib.asynccontextmanager
async def following(store: Store, cluster: Cluster) -> AsyncIterator[KubernetesSource]:
    source = KubernetesSource(store, Admission(lambda: store.snapshot, lenient=True), cluster, kinds=KINDS)
    await source.load()
    running = asyncio.create_task(source.run())
    try:
        yield source
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def until(seen: Callable[[], bool], seconds: float = 5.0) -> None:
    async with asyncio.timeout(seconds):
        while not seen():
            await asyncio.sleep(0.01)


def names(store: Store) -> set[str]:
    return {str(stored.key) for stored in store.snapshot}


async def test_what_the_cluster_has_is_stored_and_followed(tmp_path: Path) -> None:
    cluster = Cluster()
    full = document("Service", "reviews", {"ports": [{"name": "http", "port": 80}], "clusterIP": "10.96.0.7", "ipFamilies": ["IPv4"]})
    cluster.put({**full, "status": {"loadBalancer": {}}})
    async with worlds.opened(tmp_path) as store, following(store, cluster):
        assert names(store) == {"Service default/reviews"}, "unknown fields and the status of Kubernetes are passed over"
        (stored,) = store.snapshot
        assert (stored.resource.spec.clusterIP, stored.origin.owner) == ("10.96.0.7", OWNER)
        await asyncio.sleep(0.05)
        cluster.put(virtual_service())
        await until(lambda: len(names(store)) == 2)
        cluster.put(virtual_service(host="ratings"))
        key = worlds.virtual_service().key
        await until(lambda: store.snapshot.get(key).resource.spec.hosts == ("ratings",))  # type: ignore[union-attr]
        cluster.delete("Service", "reviews")
        await until(lambda: names(store) == {"VirtualService default/reviews"})
        with pytest.raises(ConflictError, match="belongs to the source 'kubernetes'; change it there"):
            await store.write([Put(resource=worlds.virtual_service())], actor="someone")


async def test_what_vanished_while_we_were_away_goes_and_what_others_wrote_stays(tmp_path: Path) -> None:
    cluster = Cluster()
    cluster.put(virtual_service("gone"))
    async with worlds.opened(tmp_path) as store:
        async with following(store, cluster):
            pass
        await store.write([Put(resource=worlds.virtual_service("by-hand"))], actor="someone")
        cluster.delete("VirtualService", "gone")
        async with following(store, cluster):
            assert names(store) == {"VirtualService default/by-hand"}


async def test_a_bad_object_keeps_its_last_good_form_and_is_shown(tmp_path: Path) -> None:
    cluster = Cluster()
    cluster.put(virtual_service())
    async with worlds.opened(tmp_path) as store, following(store, cluster) as source:
        await asyncio.sleep(0.05)
        revision = store.snapshot.revision
        cluster.put(document("VirtualService", "reviews", {"hosts": []}))
        cluster.put(service())
        await until(lambda: "Service default/reviews" in names(store))
        assert store.snapshot.get(worlds.virtual_service().key).revision == revision  # type: ignore[union-attr]
        state = {state["file"]: state for state in source.states()}
        assert state["kubernetes/services"]["state"] == "ok"
        assert state["kubernetes/virtualservices"]["state"] == "error"
        assert "VirtualService default/reviews: " in state["kubernetes/virtualservices"]["problems"][0]["message"]
        cluster.put(virtual_service(host="good"))
        await until(lambda: source.states()[0]["state"] == "ok")


async def test_one_object_that_belongs_to_somebody_else_does_not_hold_up_the_others(tmp_path: Path) -> None:
    cluster = Cluster()
    for name in ("a", "b", "c"):
        cluster.put(virtual_service(name))
    async with worlds.opened(tmp_path) as store:
        store.owners.add("directory")
        await store.write([Put(resource=worlds.virtual_service("b", "files"), origin=Origin(owner="directory", file="b.yaml"))], actor="x")
        async with following(store, cluster) as source:
            assert names(store) == {f"VirtualService default/{n}" for n in "abc"}
            assert store.snapshot.get(worlds.virtual_service("b").key).resource.spec.hosts == ("files",)  # type: ignore[union-attr]
            assert "belongs to the file b.yaml" in source.states()[0]["problems"][0]["message"]


async def test_a_server_that_is_away_at_the_start_leaves_what_was_stored(tmp_path: Path) -> None:
    cluster = Cluster()
    cluster.put(virtual_service())
    async with worlds.opened(tmp_path) as store:
        async with following(store, cluster):
            pass
        cluster.down = True
        async with following(store, cluster):
            assert names(store) == {"VirtualService default/reviews"}
            cluster.objects.clear()
            cluster.down = False
            await until(lambda: not names(store))


@pytest.fixture
async def upstream(tmp_path: Path) -> AsyncIterator[RunningGalley]:
    async with running_galley(tmp_path / "upstream") as running:
        yield running


def written_kubeconfig(upstream: RunningGalley, folder: Path) -> Path:
    roots = folder / "roots.pem"
    roots.write_bytes(authority.bundle_pem)
    path = folder / "kubeconfig"
    write_kubeconfig(path, name="upstream", galley=upstream.addresses["rest"], roots=roots, token=api_token("viewer"))
    return path


async def test_a_galley_follows_another_by_its_kubernetes_api(upstream: RunningGalley, tmp_path: Path) -> None:
    await upstream.apply(service(), virtual_service())
    config = str(written_kubeconfig(upstream, tmp_path))
    async with running_galley(tmp_path / "follower", kubernetes=config) as follower, follower.rest() as client:
        path = "/apis/networking.istio.io/v1alpha3/virtualservices"

        async def until_hosts(*wanted: str) -> None:
            async with asyncio.timeout(5):
                while sorted(h for item in (await client.get(path)).json()["items"] for h in item["spec"]["hosts"]) != list(wanted):
                    await asyncio.sleep(0.02)

        assert len((await client.get(path)).json()["items"]) == 1, "there before it was ready"
        await upstream.apply(virtual_service(host="ratings"), virtual_service("more"))
        await until_hosts("ratings", "reviews")
        async with upstream.rest() as admin:
            await admin.delete("/apis/networking.istio.io/v1alpha3/namespaces/default/virtualservices/more")
        await until_hosts("ratings")
        sources = (await client.get("/apis/fourmast.io/v1/sources")).json()["items"]
        assert {(s["file"], s["state"], s["objects"]) for s in sources} == {
            ("kubernetes/virtualservices", "ok", 1),
            ("kubernetes/services", "ok", 1),
        }


async def test_the_client_says_what_the_server_said(upstream: RunningGalley, tmp_path: Path) -> None:
    await upstream.apply(*(virtual_service(f"v{n}") for n in range(3)))
    async with connected(str(written_kubeconfig(upstream, tmp_path))) as api:
        listing = await api.list_all(VIRTUAL_SERVICE)
        assert (len(listing.items), listing.version) == (3, "3")
        async with contextlib.aclosing(api.watch(VIRTUAL_SERVICE, listing.version, seconds=5)) as events:
            long = virtual_service("long")
            long["metadata"]["annotations"] = {"text": "x" * 200_000}
            await upstream.apply(long)
            event = await asyncio.wait_for(anext(events), 5)
            assert (event.type, event.object["metadata"]["name"]) == ("ADDED", "long")
    with pytest.raises(StartError, match="is not there"):
        async with connected(str(tmp_path / "nothing")):
            pass
