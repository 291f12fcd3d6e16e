# SPDX-License-Identifier: Apache-2.0
"""From a write to a sink: what Pilot and Mixer see, and who else may not."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from common.config.kinds.core import SERVICE
from common.config.kinds.networking import VIRTUAL_SERVICE
from common.config.resource import encode
from common.identity.spiffe import SpiffeId
from common.mcp import Change, ConfigSource
from common.mcp.client import GrpcConfigSource
from galley.distribution.access import part_of
from tests.running_citadel import identity_of, part_identity
from tests.running_galley import RunningGalley, authority, running_galley, service, virtual_service

COLLECTIONS = (VIRTUAL_SERVICE.collection, SERVICE.collection)


@contextlib.asynccontextmanager
async def subscribed(source: ConfigSource) -> AsyncIterator[asyncio.Queue[Change]]:
    changes: asyncio.Queue[Change] = asyncio.Queue()
    stopping = asyncio.Event()
    task = asyncio.create_task(source.run(node_id="test", collections=COLLECTIONS, on_change=changes.put, stopping=stopping))
    try:
        yield changes
    finally:
        stopping.set()
        await asyncio.wait_for(task, 5)


async def take(changes: asyncio.Queue[Change], count: int) -> dict[str, Change]:
    async with asyncio.timeout(5):
        found = [await changes.get() for _ in range(count)]
    return {change.collection: change for change in found}


def over_grpc(galley: RunningGalley, part: str = "pilot") -> ConfigSource:
    return GrpcConfigSource(lambda: galley.addresses["mcp"], part_identity(authority, part))


@pytest.mark.parametrize("part", ["pilot", "mixer"])
async def test_an_apply_reaches_a_sink_whole_and_with_its_trace(fresh_galley: RunningGalley, part: str) -> None:
    async with subscribed(over_grpc(fresh_galley, part)) as changes:
        assert all(change.full and not change.upserts for change in (await take(changes, 2)).values())
        async with fresh_galley.rest() as client:
            items = [{"document": virtual_service()}, {"document": service()}]
            trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
            await client.post("/apis/fourmast.io/v1/batch", json={"items": items}, headers={"traceparent": trace})
            found = await take(changes, 2)
            (revision,) = (await client.get("/apis/fourmast.io/v1/revisions?kind=Service")).json()["items"]
        change = found[SERVICE.collection]
        assert (change.version, found[VIRTUAL_SERVICE.collection].version) == ("k8s/core/v1/services/2", f"{VIRTUAL_SERVICE.collection}/1")
        assert "4bf92f3577b34da6a3ce929d0e0e4736" in change.traceparent
        assert msgspec.json.decode(encode(change.upserts[0])) == revision["object"], "what was stored is what arrives"
        async with fresh_galley.rest() as client:
            await client.delete("/api/v1/namespaces/default/services/reviews")
        assert (await take(changes, 1))[SERVICE.collection].removed == ("default/reviews",)


async def test_split_and_merged_see_the_same(fresh_galley: RunningGalley) -> None:
    await fresh_galley.apply(virtual_service(), service())
    seen: list[Any] = []
    for source in (over_grpc(fresh_galley), fresh_galley.component.config_source, fresh_galley.component.another_config_source()):
        async with subscribed(source) as changes:
            found = await take(changes, 2)
            seen.append({name: (c.version, c.traceparent, [encode(r) for r in c.upserts]) for name, c in found.items()})
    assert seen[0] == seen[1] == seen[2]


async def test_a_restart_changes_no_version(tmp_path: Path) -> None:
    versions = []
    async with running_galley(tmp_path) as galley:
        await galley.apply(virtual_service(), service())
        async with galley.rest() as client:
            await client.delete("/api/v1/namespaces/default/services/reviews")
        async with subscribed(over_grpc(galley)) as changes:
            versions.append({name: change.version for name, change in (await take(changes, 2)).items()})
    async with running_galley(tmp_path) as galley, subscribed(over_grpc(galley)) as changes:
        versions.append({name: change.version for name, change in (await take(changes, 2)).items()})
    assert versions[0] == versions[1]
    assert versions[0][SERVICE.collection].endswith("/3"), "also that of a collection that became empty"


async def test_a_workload_may_not_subscribe(fresh_galley: RunningGalley) -> None:
    await fresh_galley.apply(virtual_service())
    stranger = GrpcConfigSource(lambda: fresh_galley.addresses["mcp"], identity_of(authority, "default", "sleep"))
    async with subscribed(stranger) as changes:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(changes.get(), 0.4)


@pytest.mark.parametrize(
    ("peer", "part"),
    [
        (SpiffeId("cluster.local", "istio-system", "istio-pilot-service-account"), "pilot"),
        (SpiffeId("cluster.local", "istio-system", "istio-mixer-service-account"), "mixer"),
        (SpiffeId("cluster.local", "istio-system", "istio-citadel-service-account"), None),
        (SpiffeId("cluster.local", "default", "istio-pilot-service-account"), None),
        (SpiffeId("other.domain", "istio-system", "istio-pilot-service-account"), None),
        (None, None),
    ],
)
def test_only_these_two_identities_are_let_in(peer: SpiffeId | None, part: str | None) -> None:
    if part is not None:
        assert part_of(peer, "cluster.local") == part
    else:
        with pytest.raises(PermissionError, match=r"pilot and mixer of cluster\.local"):
            part_of(peer, "cluster.local")
