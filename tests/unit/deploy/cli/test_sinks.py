# SPDX-License-Identifier: Apache-2.0
"""What `fourmast status` says of Galley's sinks, and what an analysis of the mesh says of its proxies."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from common.config.kinds.networking import GATEWAY, VIRTUAL_SERVICE
from common.identity.kubeconfig import write_kubeconfig
from common.mcp import Change, Rejected
from common.mcp.client import GrpcConfigSource
from common.registration import Workload, registration
from deploy.cli.sinks import refusals, rows
from tests.running_citadel import identity_of, part_identity
from tests.running_galley import RunningGalley, api_token, authority, virtual_service

Mesh = Callable[..., Awaitable[Any]]

STATUS = {"name": "m", "pid": os.getpid(), "mode": "none", "reason": "-", "controlPlane": "split", "stateDir": "/s"}


def sink(name: str, **states: str) -> dict[str, Any]:
    collections = [
        {"collection": f"istio/networking/v1alpha3/{collection}", "state": state, "reason": "too large" if state == "NACK" else ""}
        for collection, state in states.items()
    ]
    synced = all(state == "SYNCED" for state in states.values())
    return {"sink": name, "node": f"{name}~host", "since": "then", "synced": synced, "collections": collections}


def test_a_sink_is_in_sync_or_says_with_what_it_is_not() -> None:
    pilot = sink("pilot", virtualservices="SYNCED", gateways="STALE", sidecars="SYNCED")
    assert list(rows([sink("mixer", virtualservices="SYNCED"), pilot])) == [
        ("mixer", "mixer~host", "then", "in sync", "1/1", "-"),
        ("pilot", "pilot~host", "then", "behind", "2/3", "Gateway"),
    ]


def test_a_sink_that_is_far_behind_names_a_few() -> None:
    new = sink("pilot", **dict.fromkeys(("virtualservices", "gateways", "sidecars", "serviceentries", "envoyfilters"), "NOT SENT"))
    assert next(rows([new]))[3:] == ("behind", "0/5", "VirtualService, Gateway, Sidecar and 2 more")


def test_a_refusal_is_told_in_the_words_of_the_sink() -> None:
    pilot = sink("pilot", virtualservices="NACK", gateways="SYNCED")
    assert next(rows([pilot]))[3] == "refused"
    assert list(refusals([pilot])) == ["pilot refused VirtualService: too large"]


def test_who_is_not_connected_is_named_too() -> None:
    assert [row[::3] for row in rows([])] == [("pilot", "not connected"), ("mixer", "not connected")]
    listed = sink("spiffe://cluster.local/ns/istio-system/sa/p", gateways="SYNCED") | {"node": "pilot~host"}
    inside = sink("mixer~host (in process)", gateways="SYNCED")
    assert [row[3] for row in rows([listed, inside])] == ["in sync", "in sync"], "however the sink came"


async def test_status_shows_the_sinks_of_galley(mesh: Mesh, one_galley: RunningGalley, tmp_path: Path) -> None:
    (tmp_path / "status.json").write_text(json.dumps({**STATUS, "parts": [], "workloads": []}))
    seen, stopping = asyncio.Event(), asyncio.Event()

    async def take(change: Change) -> None:
        if change.upserts:
            seen.set()
            raise Rejected("my cache is full")

    source = GrpcConfigSource(lambda: one_galley.addresses["mcp"], part_identity(authority, "pilot"))
    collections = [VIRTUAL_SERVICE.collection, GATEWAY.collection]
    task = asyncio.create_task(source.run(node_id="pilot~here", collections=collections, on_change=take, stopping=stopping))
    try:
        await one_galley.apply(virtual_service())
        await asyncio.wait_for(seen.wait(), 5)
        async with asyncio.timeout(5):
            while "refused" not in (ran := await mesh("status")).out:
                await asyncio.sleep(0.05)
        assert ran.code == 0
        lines = [line.split("  ") for line in ran.out.splitlines()]
        cells = [[cell.strip() for cell in line if cell.strip()] for line in lines]
        assert ["SINK", "NODE", "SINCE", "STATE", "IN SYNC", "BEHIND"] in cells
        assert ["mixer", "-", "-", "not connected", "-", "-"] in cells
        (pilot,) = (line for line in cells if line[:2] == ["pilot", "pilot~here"])
        assert pilot[3:] == ["refused", "1/2", "VirtualService"]
        assert "! pilot refused VirtualService: my cache is full" in ran.out.splitlines()
        (found,) = json.loads((await mesh("status", "-o", "json")).out)["sinks"]
        assert (found["sink"], found["synced"], len(found["collections"])) == ("pilot", False, 2)
    finally:
        stopping.set()
        await asyncio.wait_for(task, 5)


async def test_who_is_no_administrator_sees_the_rest(mesh: Mesh, one_galley: RunningGalley, tmp_path: Path) -> None:
    (tmp_path / "status.json").write_text(json.dumps({**STATUS, "parts": [], "workloads": []}))
    file = tmp_path / "kubeconfig"
    address, roots = one_galley.addresses["rest"], tmp_path / "roots.pem"
    write_kubeconfig(file, name="test", galley=address, roots=roots, token=api_token("viewer"))
    ran = await mesh("status")
    assert (ran.code, ran.out.splitlines()[0]) == (0, "mesh m: split, mode none (-)")
    assert ran.out.splitlines()[-1].startswith("sinks of Galley are not known: ")
    assert "it takes the role admin" in ran.out


async def test_an_analysis_of_the_mesh_compares_proxies_with_its_galley(mesh: Mesh, one_galley: RunningGalley, tmp_path: Path) -> None:
    agent = identity_of(authority, "default", "reviews")
    workload = Workload(name="reviews-1", address="127.10.0.5", labels={"app": "reviews"}, proxy_version="0.0.1")
    async with registration(agent, one_galley.addresses["registration"], workload, lambda: True) as member:
        await asyncio.wait_for(member.registered.wait(), 5)
        found = json.loads((await mesh("analyze", "-k", "-o", "json")).out)
        entry = (await mesh("get", "workloadentry", "reviews-1", "-o", "yaml")).out
    assert [(each["code"], each["resource"]) for each in found] == [("IST0105", "WorkloadEntry default/reviews-1")]
    assert "(proxy version: 0.0.1; control plane version: " in found[0]["message"]
    alone = tmp_path / "entry.yaml"
    alone.write_text(entry)
    ran = await mesh("analyze", str(alone))
    assert "IST0105" not in ran.out, "files alone know no control plane"
