# SPDX-License-Identifier: Apache-2.0
"""When a mesh is at rest: everybody is there, Pilot has what Galley has, and every proxy has acknowledged all that is made of it."""

from __future__ import annotations

from collections import Counter
from typing import Any

import httpx

import common.config.kinds  # noqa: F401 - registers every kind
from common.config.registry import registry
from deploy.local.demo.world import World
from pilot.model.push import COLLECTIONS
from pilot.registry.workloads import REGISTERED_ANNOTATION

Versions = dict[tuple[str, str, str], str]
"""(kind, namespace, name) -> resourceVersion; empty for a registered workload, whose versions only mean something at Galley."""


async def unrest(world: World) -> str | None:
    """What is still under way, in a sentence; None when nothing is."""
    for workload in world.mesh.workloads.values():
        if problem := await workload.problem():
            return f"{workload.name}: {problem}"
    async with httpx.AsyncClient(
        base_url=f"http://{world.mesh.address('pilot', 'debug')}/debug",
        headers={"Authorization": f"Bearer {world.mesh.control_plane.admin_token()}"},
        timeout=15,
        trust_env=False,
    ) as pilot:
        return await _unequal(world, pilot) or await _unacknowledged(world, pilot)


async def _unequal(world: World, pilot: httpx.AsyncClient) -> str | None:
    galleys: Versions = {}
    for collection in COLLECTIONS:
        kind = registry.by_collection(collection)
        assert kind is not None, collection
        galleys |= _versions(kind.name, await world.mesh.galley.objects(kind.api_version, kind.name))
    pilots: Versions = {}
    for document in await _page(pilot, "/configz"):
        pilots |= _versions(document["kind"], [document])
    different = sorted(key for key in {*galleys, *pilots} if galleys.get(key) != pilots.get(key))
    return f"Galley and Pilot differ in {different[:3]}" if different else None


def _versions(kind: str, documents: list[dict[str, Any]]) -> Versions:
    found: Versions = {}
    for metadata in (document["metadata"] for document in documents):
        registered = REGISTERED_ANNOTATION in metadata.get("annotations", {})
        found[kind, metadata.get("namespace", ""), metadata["name"]] = "" if registered else metadata["resourceVersion"]
    return found


async def _unacknowledged(world: World, pilot: httpx.AsyncClient) -> str | None:
    rows = await _page(pilot, "/syncz")
    connected = Counter(row["proxy"].partition(".")[0] for row in rows)
    expected = Counter(name for name, workload in world.mesh.workloads.items() if workload.sidecar is not None)
    if connected != expected:
        return f"connected are {sorted(connected.elements())}"
    for row in rows:
        if behind := [word for word, each in row["states"].items() if each["state"] not in ("SYNCED", "NOT SENT")]:
            return f"{row['proxy']} has not acknowledged {', '.join(behind)}"
    for document in await _page(pilot, "/configz"):
        kind, metadata = registry.by_word(document["kind"]), document["metadata"]
        assert kind is not None, document["kind"]
        name = "/".join(part for part in (kind.singular, metadata.get("namespace", ""), metadata["name"]) if part)
        answer = await _page(pilot, f"/config_distribution?resource={name}")
        if waiting := [each["proxy"] for each in answer["proxies"] if each["state"] != "ACKED"]:
            return f"{', '.join(waiting)} have not acknowledged {name}"
    return None


async def _page(pilot: httpx.AsyncClient, path: str) -> Any:
    answer = await pilot.get(path)
    answer.raise_for_status()
    return answer.json()
