# SPDX-License-Identifier: Apache-2.0
"""What became of a change: its trace through all parts, the proxies that have it, and the one that refuses it - on real Envoys."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from deploy.local.demo.traffic import ALL_V1
from deploy.local.demo.world import World, until

pytestmark = pytest.mark.timeout(180)

ALL_V3 = "bookinfo/config/virtual-service-reviews-v3.yaml"
GATEWAY = ("networking.istio.io/v1alpha3", "Gateway", "default", "taken")
SHOWN_WITHIN = 2.0  # seconds from an apply to the refusal at the resource
TAKEN = 15020
"""Where the agent beside every Envoy answers probes, so that no listener can be there."""


async def fourmast(world: World, *arguments: str) -> tuple[int, str]:
    """The command line, as a user of this mesh runs it; exit code and everything that it printed."""
    command = [sys.executable, "-m", "deploy.cli.main", *arguments, "--kubeconfig", str(world.mesh.kubeconfig)]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT)
    output, _ = await process.communicate()
    return process.returncode or 0, output.decode()


async def conditions(world: World, kind: str, name: str) -> Mapping[str, Mapping[str, Any]]:
    code, text = await fourmast(world, "get", kind, name, "-o", "json")
    assert code == 0, text
    return {each["type"]: each for each in json.loads(text).get("status", {}).get("conditions", ())}


def gateway(port: int) -> dict[str, Any]:
    server = {"port": {"number": port, "name": "http", "protocol": "HTTP"}, "hosts": ["taken.example.com"]}
    return {
        "apiVersion": GATEWAY[0],
        "kind": GATEWAY[1],
        "metadata": {"name": GATEWAY[3], "namespace": GATEWAY[2]},
        "spec": {"selector": {"istio": "ingressgateway"}, "servers": [server]},
    }


@pytest.fixture
async def without_gateway(world: World) -> AsyncIterator[None]:
    yield
    await world.mesh.galley.delete(*GATEWAY)


async def test_one_trace_from_accept_to_every_acknowledgement(world: World) -> None:
    await world.configure((ALL_V1,))
    await world.configure((ALL_V3,))
    code, text = await fourmast(world, "wait", "--for=distribution", "virtualservice/reviews")
    assert code == 0 and "is in force at" in text, text
    code, text = await fourmast(world, "trace", "virtualservice/reviews", "-o", "json")
    assert code == 0, text
    spans = json.loads(text)["spans"]
    by_name = {span["name"]: span for span in spans}
    steps = ("galley.accept", "galley.store", "galley.publish", "pilot.receive", "pilot.build", "pilot.push")
    assert set(steps) <= by_name.keys(), text
    starts = [by_name[step]["start"] for step in steps]
    assert starts == sorted(starts), "each step begins after the one before"
    sidecars = {name for name in world.mesh.workloads if name.startswith(("reviews", "productpage", "ratings", "details"))}
    took = {span["attributes"]["proxy"].partition(".")[0] for span in spans if span["name"] == "pilot.proxy" and not span["failed"]}
    assert sidecars <= took, f"no acknowledgement of {sidecars - took}"
    assert all(span["traceId"] == by_name["galley.accept"]["traceId"] for span in spans)


async def test_a_policy_shows_mixers_part(world: World) -> None:
    await world.configure((ALL_V1, "bookinfo/config/policy/deny-label.yaml"))

    async def in_force() -> bool:
        _, text = await fourmast(world, "trace", "rule/denyreviewsv3", "-o", "json")
        return text.startswith("{") and "mixer.build" in {span["name"] for span in json.loads(text)["spans"]}

    assert await until(in_force, within=30)
    code, text = await fourmast(world, "wait", "rule/denyreviewsv3", "--timeout", "30s")
    assert code == 0 and "is in force" in text, text


async def test_waiting_for_what_nobody_uses_ends_at_once(world: World) -> None:
    rule = {"apiVersion": "networking.istio.io/v1alpha3", "kind": "DestinationRule", "spec": {"host": "nobody"}}
    await world.apply([{**rule, "metadata": {"name": "nobody", "namespace": "default"}}])
    began = time.monotonic()
    code, text = await fourmast(world, "wait", "destinationrule/nobody")
    assert code == 0 and "no connected proxy uses it" in text, text
    assert time.monotonic() - began < 15, "half of what it would wait for a proxy, and the command line takes its time"
    await world.mesh.galley.delete("networking.istio.io/v1alpha3", "DestinationRule", "default", "nobody")


async def test_a_refusal_is_shown_where_it_comes_from_and_the_rest_flows(world: World, without_gateway: None) -> None:
    await world.configure((ALL_V1,))
    await world.apply([gateway(TAKEN)])
    applied = time.monotonic()

    async def rejected() -> bool:
        return '"Rejected"' in await world.mesh.galley.get_text(*GATEWAY)

    assert await until(rejected, within=15)
    assert time.monotonic() - applied < SHOWN_WITHIN
    found = await conditions(world, "gateway", "taken")
    assert found["Rejected"]["status"] == "True" and "Address already in use" in found["Rejected"]["message"]
    assert "istio-ingressgateway" in found["Rejected"]["message"]
    assert (found["Programmed"]["status"], found["Programmed"]["message"]) == ("False", "0/1 proxies")

    code, text = await fourmast(world, "proxy-status")
    assert code == 0 and "REJECTED" in text and "it comes from Gateway default/taken" in text, text
    code, text = await fourmast(world, "wait", "gateway/taken")
    assert code == 1 and "Address already in use" in text, text

    before = await refusals(world)
    await world.configure((ALL_V3,))
    code, text = await fourmast(world, "wait", "virtualservice/reviews")
    assert code == 0, text
    assert (await world.page()).status == 200, "the gateway's other listener serves"
    await asyncio.sleep(1)
    assert await refusals(world) == before, "what is held back is not pushed again and again"

    await world.apply([gateway(18099)])
    code, text = await fourmast(world, "wait", "gateway/taken")
    assert code == 0 and "1 of 1 proxies" in text, text
    assert "Rejected" not in await conditions(world, "gateway", "taken")


async def refusals(world: World) -> int:
    """How often the gateway's Envoy has refused a listener."""
    return (await world.envoy_stats("istio-ingressgateway", r"^listener_manager\.lds\.update_rejected$")).get(
        "listener_manager.lds.update_rejected", 0
    )


async def test_pilot_starts_without_galley_and_says_so(world: World) -> None:
    await world.configure((ALL_V1,))
    if world.mesh.shape == "istiod":  # in one process Galley is never away alone
        await world.mesh.part("istiod").restart()
        assert await nothing_unusual(world, "istiod")
        return
    await world.mesh.part("galley").kill()
    try:
        await world.mesh.part("pilot").restart()
        _, remark = await world.mesh.part("pilot").state()
        assert remark is not None and "last good configuration" in remark
        assert (await world.page()).status == 200

        async def all_back() -> bool:
            code, text = await fourmast(world, "proxy-status")
            return code == 0 and text.count("SYNCED") >= 4 * len(world.mesh.workloads) - 8

        assert await until(all_back, within=40), "proxies find the new Pilot and are served"
    finally:
        await world.mesh.part("galley").start()
        await world.mesh.part("galley").until_ready()
    assert await nothing_unusual(world, "pilot")


async def nothing_unusual(world: World, part: str) -> bool:
    async def usual() -> bool:
        return await world.mesh.part(part).state() == (None, None)

    return await until(usual, within=40)
