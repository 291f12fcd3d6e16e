# SPDX-License-Identifier: Apache-2.0
"""For the same stored configuration the split parts and istiod give an Envoy the same resources, byte for byte.

Each lane writes down what its Envoys hold; whichever comes second compares. Addresses are the same in every run of the demo's mesh.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from deploy.local.demo.world import World, until
from tests.e2e.rest import unrest

pytestmark = pytest.mark.timeout(180)

ROOT = Path(__file__).parents[2]
BOOKKEEPING = ("version_info", "last_updated")
WORKLOADS = ("istio-ingressgateway", "productpage-v1", "sleep")
PATIENCE = 30.0  # seconds in which a mesh that is at rest must come to be as the other lane's was
SHOWN = 10  # differences that a failure prints
LONGEST = 150  # characters of a value there
ABSENT = "(absent)"

Held = dict[str, dict[str, Any]]
"""Workload -> section and name -> body, of every resource."""


async def _resources(world: World, workload: str) -> dict[str, Any]:
    """Section and name -> body of every dynamic cluster, listener and route that the workload's Envoy has in force."""
    found: dict[str, Any] = {}
    for config in json.loads(await world.mesh.workload(workload).admin("/config_dump"))["configs"]:
        for section, entries in config.items():
            if not section.startswith("dynamic_") or not isinstance(entries, list):
                continue
            for entry in entries:
                held = entry.get("active_state", entry)
                body = next((value for key, value in held.items() if key in ("cluster", "listener", "route_config")), None)
                if body is not None:
                    found[f"{section} {body['name']}"] = _without_history({k: v for k, v in body.items() if k not in BOOKKEEPING})
    return found


def _without_history(value: Any) -> Any:
    """Less the policy epoch, and the name that a check's settings get from all of their content, it included: the epoch names the stored
    versions of policy, and how far these have counted is each lane's history."""
    if isinstance(value, list):
        return [_without_history(each) for each in value]
    if not isinstance(value, dict):
        return value
    left_out = ("epoch", "id") if "epoch" in value else ()
    return {key: _without_history(each) for key, each in value.items() if key not in left_out}


def _differences(one: Any, other: Any, path: str = "") -> Iterator[str]:
    """Where two documents part, and what each has there."""
    if isinstance(one, dict) and isinstance(other, dict):
        for key in sorted({*one, *other}):
            yield from _differences(one.get(key, ABSENT), other.get(key, ABSENT), f"{path} > {key}" if path else key)
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for index, (left, right) in enumerate(zip(one, other, strict=True)):
            yield from _differences(left, right, f"{path}[{index}]")
    elif one != other:
        yield f"{path}: {_shown(one)} there, {_shown(other)} here"


def _shown(value: Any) -> str:
    text = value if value is ABSENT else json.dumps(value, sort_keys=True)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}... ({len(text)} characters)"


async def test_split_and_istiod_give_the_same_resources(world: World, control_plane: str, tmp_path: Path) -> None:
    await world.restore()
    run = os.environ.get("FOURMAST_RUN")
    folder = ROOT / ".cache" / "e2e" / run if run else tmp_path
    folder.mkdir(parents=True, exist_ok=True)
    there = folder / f"{'istiod' if control_plane == 'split' else 'split'}-{world.mesh.mode}.json"
    if control_plane == "istiod" and run and not there.exists():
        pytest.fail(f"the split lane has left nothing in {folder} to compare with")
    expected: Held | None = json.loads(there.read_text()) if there.exists() else None
    seen: Held = {}
    moving: str | None = ""
    latest = time.monotonic() + PATIENCE

    async def at_rest() -> bool:
        nonlocal seen, moving
        moving = await unrest(world)
        before, seen = seen, {workload: await _resources(world, workload) for workload in WORKLOADS}
        if moving is not None or before != seen:
            return False
        return expected is None or seen == expected or time.monotonic() > latest

    assert await until(at_rest, within=2 * PATIENCE, every=1.0), moving or "what the Envoys hold goes on changing"
    assert all(len(resources) > 5 for resources in seen.values())
    (folder / f"{control_plane}-{world.mesh.mode}.json").write_text(json.dumps(seen, indent=1, sort_keys=True))
    if expected is not None and expected != seen:
        found = list(islice(_differences(expected, seen), SHOWN + 1))
        more = [f"and more; all is in {folder}"] if len(found) > SHOWN else []
        pytest.fail("\n".join([f"{there.stem} there, {control_plane} here:", *found[:SHOWN], *more]), pytrace=False)
