# SPDX-License-Identifier: Apache-2.0
"""A part is killed while requests flow: none is lost, and restarted it converges without help."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from deploy.local.demo.traffic import ALL_V1
from deploy.local.demo.world import World, until

pytestmark = pytest.mark.timeout(180)
ALL_V3 = "bookinfo/config/virtual-service-reviews-v3.yaml"


async def steady(world: World, seconds: float) -> dict[str, Any]:
    """Requests through two sidecars for so long; every one carries the same attributes, so Mixer's answer stays cached."""
    return await world.send("productpage-v1", "http://details:9080/details/0", "-s", str(seconds), "-c", "2", "-p", "0.02")


async def changes_arrive(world: World) -> bool:
    """Whether an apply reaches Envoy: first no stars, then red ones."""

    async def red() -> bool:
        return (await world.page()).red_stars > 0

    async def none() -> bool:
        page = await world.page()
        return page.status == 200 and page.red_stars == 0

    await world.configure((ALL_V1,))
    first = await until(none, within=40)
    await world.configure((ALL_V3,))
    return first and await until(red, within=40)


async def back(world: World, part: str) -> None:
    """Start a killed part again and wait until it says that it is ready."""
    await world.mesh.part(part).start()
    await world.mesh.part(part).until_ready()


def parts(control_plane: str) -> list[str]:
    return ["galley", "pilot", "citadel", "mixer"] if control_plane == "split" else ["istiod"]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "part" in metafunc.fixturenames:
        metafunc.parametrize("part", parts(metafunc.config.getoption("--control-plane")))


async def test_killing_a_part_loses_no_request_and_it_converges(world: World, part: str) -> None:
    await world.configure((ALL_V1,))
    await steady(world, 4)  # the rules' newest epoch has arrived everywhere, and Mixer's answer is in the cache
    traffic = asyncio.create_task(steady(world, 8))
    await asyncio.sleep(1.5)
    await world.mesh.part(part).kill()
    await asyncio.sleep(3)
    assert world.mesh.part(part).pid is None
    await back(world, part)
    summary = await traffic
    assert set(summary["codes"]) == {"200"}, summary["failures"]
    assert await changes_arrive(world), f"after its restart {part} does not pass changes on"


async def test_a_restarted_pilot_without_galley_serves_the_last_good_configuration(world: World, control_plane: str) -> None:
    if control_plane == "istiod":
        part_names = ["istiod"]
    else:
        part_names = ["galley", "pilot"]
    await world.configure((ALL_V1,))
    for name in part_names:
        await world.mesh.part(name).kill()
    await world.mesh.part(part_names[-1]).start()
    # A sidecar that starts now knows nothing but what Pilot tells it.
    await world.mesh.workload("sleep").kill()
    await world.mesh.workload("sleep").start(registered=control_plane == "istiod")

    async def served() -> bool:
        summary = await world.send("sleep", "http://details:9080/details/0", "-n", "3")
        return bool(summary["codes"] == {"200": 3})

    try:
        assert await until(served, within=40)
    finally:
        for name in part_names[:-1]:
            await back(world, name)
    if control_plane == "istiod":
        await world.mesh.part("istiod").until_ready()
    assert await changes_arrive(world)


@pytest.mark.parametrize("fail_open", [False, True])
async def test_an_uncached_check_without_mixer_follows_the_fail_policy(world: World, control_plane: str, fail_open: bool) -> None:
    part = "mixer" if control_plane == "split" else "istiod"
    await world.configure((f"demo/config/fail-{'open' if fail_open else 'closed'}.yaml",))

    async def in_force() -> bool:
        dumps = [await world.mesh.workload(name).admin("/config_dump?resource=dynamic_route_configs") for name in ("echo-v1", "echo-v2")]
        policy, other = (f'"failOpen": {str(value).lower()}' for value in (fail_open, not fail_open))
        denied = (await world.send("sleep", "http://echo:8000/get", "-n", "4", "-H", "x-user: john"))["codes"] == {"403": 4}
        return denied and all(policy in dump and other not in dump for dump in dumps)  # denied: answers depend on x-user now

    assert await until(in_force, within=30)
    await world.mesh.part(part).kill()
    try:
        summary = await world.send("sleep", "http://echo:8000/get", "-n", "2", "-H", f"x-user: never-seen-{fail_open}", "-t", "8")
    finally:
        await back(world, part)
    if fail_open:
        assert summary["codes"] == {"200": 2}, summary
    else:
        assert summary["codes"] == {"503": 2}, summary
        assert summary["last"]["body"].startswith("UNAVAILABLE:")
    assert await changes_arrive(world)
