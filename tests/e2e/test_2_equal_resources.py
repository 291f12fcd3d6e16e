# SPDX-License-Identifier: Apache-2.0
"""For the same stored configuration the split parts and istiod give an Envoy the same resources, byte for byte.

Each lane writes down what its Envoys hold; whichever comes second compares. Addresses are the same in every run of the demo's mesh.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from deploy.local.demo.world import World, until

ROOT = Path(__file__).parents[2]
BOOKKEEPING = ("version_info", "last_updated")
WORKLOADS = ("istio-ingressgateway", "productpage-v1", "sleep")


EPOCH = re.compile(r'"epoch": "[0-9a-f]+"')  # names the stored versions of policy, which count on differently in each lane's history


def _digest(value: Any) -> str:
    return hashlib.sha256(EPOCH.sub('"epoch": ""', json.dumps(value, sort_keys=True)).encode()).hexdigest()[:16]


async def _resources(world: World, workload: str) -> dict[str, str]:
    """Type and name -> digest of every dynamic cluster, listener and route that the workload's Envoy has in force."""
    found: dict[str, str] = {}
    for config in json.loads(await world.mesh.workload(workload).admin("/config_dump"))["configs"]:
        for section, entries in config.items():
            if not section.startswith("dynamic_") or not isinstance(entries, list):
                continue
            for entry in entries:
                held = entry.get("active_state", entry)
                body = next((value for key, value in held.items() if key in ("cluster", "listener", "route_config")), None)
                if body is not None:
                    found[f"{section} {body['name']}"] = _digest({k: v for k, v in body.items() if k not in BOOKKEEPING})
    return found


async def test_split_and_istiod_give_the_same_resources(world: World, control_plane: str, tmp_path: Path) -> None:
    await world.restore()
    seen: dict[str, dict[str, str]] = {}

    async def at_rest() -> bool:
        nonlocal seen
        before, seen = seen, {workload: await _resources(world, workload) for workload in WORKLOADS}
        return before == seen

    assert await until(at_rest, within=20, every=1.5)
    assert all(len(resources) > 5 for resources in seen.values())
    run = os.environ.get("FOURMAST_RUN")
    folder = ROOT / ".cache" / "e2e" / run if run else tmp_path
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{control_plane}-{world.mesh.mode}.json").write_text(json.dumps(seen, indent=1, sort_keys=True))
    other = folder / f"{'istiod' if control_plane == 'split' else 'split'}-{world.mesh.mode}.json"
    if not other.exists():
        if control_plane == "istiod" and run:
            pytest.fail(f"the split lane has left nothing in {folder} to compare with")
        return
    assert json.loads(other.read_text()) == seen
