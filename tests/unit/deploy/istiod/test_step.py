# SPDX-License-Identifier: Apache-2.0
"""In which order the parts of istiod start."""

from __future__ import annotations

import asyncio

from common.lifecycle import Life
from deploy.istiod.app import Step


class Recorder:
    """A component that writes down when it runs, and is ready when told."""

    def __init__(self, name: str, told: list[str]) -> None:
        self.name = name
        self._told = told
        self.may_be_ready = asyncio.Event()

    async def run(self, life: Life) -> None:
        self._told.append(f"{self.name} runs")
        await self.may_be_ready.wait()
        life.ready()
        await life.stopping.wait()
        self._told.append(f"{self.name} ends")


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_a_part_starts_when_the_one_it_needs_is_ready_and_outlives_its_faults() -> None:
    told: list[str] = []
    first, second = Recorder("citadel", told), Recorder("galley", told)
    before = Step(first)
    after = Step(second, after=before)
    lives = Life("citadel"), Life("galley")
    tasks = [asyncio.create_task(after.run(lives[1])), asyncio.create_task(before.run(lives[0]))]
    await settle()
    assert told == ["citadel runs"]
    assert lives[1].reason == "waiting for citadel"
    first.may_be_ready.set()
    second.may_be_ready.set()
    await settle()
    assert told == ["citadel runs", "galley runs"]
    lives[0].not_ready("restarting")
    await settle()
    assert lives[1].is_ready
    for life in lives:
        life.stopping.set()
    await asyncio.gather(*tasks)
    assert "galley ends" in told


async def test_one_that_never_started_can_be_stopped() -> None:
    told: list[str] = []
    after = Step(Recorder("galley", told), after=Step(Recorder("citadel", told)))
    life = Life("galley")
    task = asyncio.create_task(after.run(life))
    await settle()
    life.stopping.set()
    await asyncio.wait_for(task, 1)
    assert told == []
