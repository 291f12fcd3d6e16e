# SPDX-License-Identifier: Apache-2.0
"""Memory goes back once, when it is quiet, and cycles are looked for only after a crowd."""

from __future__ import annotations

from pilot.api.rest import CROWD, QUIET, Rest


async def test_rests_once_and_only_when_quiet() -> None:
    done: list[str] = []
    rest = Rest(lambda: done.append("forget"), collect=lambda: done.append("collect"))
    assert not await rest.look(100.0), "nothing has happened yet"
    rest.disturbed(100.0)
    assert not await rest.look(100.0 + QUIET / 2) and not done
    assert await rest.look(100.0 + QUIET) and done == ["forget"]
    assert not await rest.look(200.0) and done == ["forget"]


async def test_looks_for_cycles_after_a_crowd() -> None:
    done: list[str] = []
    rest = Rest(lambda: done.append("forget"), collect=lambda: done.append("collect"))
    for _ in range(CROWD):
        rest.disturbed(0.0, proxies=1)
    assert await rest.look(QUIET) and done == ["forget", "collect"]
    rest.disturbed(10.0, proxies=1)
    assert await rest.look(10.0 + QUIET) and done == ["forget", "collect", "forget"]
