# SPDX-License-Identifier: Apache-2.0
"""Components start in order, are restarted alone and stop in reverse."""

import asyncio
import contextlib

import pytest

from common.lifecycle import Life, host
from common.lifecycle.host import StartError


class Part:
    """Records what happens to it; fails on its first `failures` runs."""

    def __init__(
        self, name: str, diary: list[str], *, failures: int = 0, error: type[Exception] = RuntimeError, deaf: bool = False
    ) -> None:
        self.name, self.diary, self.failures, self.error, self.deaf = name, diary, failures, error, deaf

    async def run(self, life: Life) -> None:
        self.diary.append(f"{self.name} starts")
        if self.failures:
            self.failures -= 1
            raise self.error("broken")
        life.ready()
        try:
            await (asyncio.Event().wait() if self.deaf else life.stopping.wait())
        finally:
            self.diary.append(f"{self.name} stops")


@contextlib.asynccontextmanager
async def hosting(*parts: Part, grace: float = 5.0):  # type: ignore[no-untyped-def]
    lives = {part.name: Life(part.name) for part in parts}
    stop = asyncio.Event()
    task = asyncio.create_task(host(parts, lives, grace=grace, stop=stop))
    yield lives, stop, task
    stop.set()
    await task


async def test_order_of_start_and_stop() -> None:
    diary: list[str] = []
    async with hosting(Part("a", diary), Part("b", diary)) as (lives, _, _):
        await asyncio.gather(*(life.until_ready() for life in lives.values()))
    assert diary == ["a starts", "b starts", "b stops", "a stops"]


async def test_a_failed_component_is_restarted_alone() -> None:
    diary: list[str] = []
    async with hosting(Part("steady", diary), Part("shaky", diary, failures=2)) as (lives, _, _):
        await asyncio.wait_for(lives["shaky"].until_ready(), 5)
        assert diary.count("shaky starts") == 3
        assert diary.count("steady starts") == 1
        assert lives["steady"].is_ready


async def test_the_reason_of_a_failure_is_readable_meanwhile() -> None:
    diary: list[str] = []
    async with hosting(Part("shaky", diary, failures=1)) as (lives, _, _):
        await lives["shaky"].until_changed()
        assert lives["shaky"].reason == "failed: broken"


async def test_a_start_error_ends_the_process_with_its_message() -> None:
    diary: list[str] = []
    with pytest.raises(StartError, match="broken"):
        await asyncio.wait_for(host([Part("steady", diary), Part("doomed", diary, failures=1, error=StartError)]), 5)
    assert diary == ["steady starts", "doomed starts", "steady stops"]


async def test_a_component_that_does_not_stop_is_cut_after_the_grace() -> None:
    diary: list[str] = []
    async with hosting(Part("deaf", diary, deaf=True), grace=0.05) as (lives, _, _):
        await lives["deaf"].until_ready()
    assert diary == ["deaf starts", "deaf stops"]
