# SPDX-License-Identifier: Apache-2.0
"""List and watch as a conversation with a server that says what the test wrote."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import Any

import pytest

from common.config.kinds.networking import VIRTUAL_SERVICE
from common.config.registry import Kind
from galley.sources.reflector import (
    ABSENT_PAUSE,
    LONGEST_PAUSE,
    AbsentError,
    ApiError,
    GoneError,
    Listing,
    Object,
    Reflector,
    WatchEvent,
)


def found(name: str, version: int) -> Object:
    return {"metadata": {"name": name, "namespace": "default", "resourceVersion": str(version)}}


def event(type_: Any, name: str, version: int) -> WatchEvent:
    return WatchEvent(type_, found(name, version))


class Server:
    """Answers in the order of its script; a watch is a list of events that may end with an error. Remembers what it was asked."""

    def __init__(self, *script: Any) -> None:
        self._script = list(script)
        self.asked: list[str] = []

    async def list_all(self, kind: Kind) -> Listing:
        self.asked.append("list")
        answer = self._script.pop(0)
        if isinstance(answer, Exception):
            raise answer
        assert isinstance(answer, Listing)
        return answer

    async def watch(self, kind: Kind, version: str, *, seconds: float) -> AsyncGenerator[WatchEvent, None]:
        self.asked.append(f"watch {version}")
        for answer in self._script.pop(0):
            if isinstance(answer, Exception):
                raise answer
            yield answer


class Heard:
    def __init__(self) -> None:
        self.said: list[str] = []

    def replaced(self, kind: Kind, items: Sequence[Object]) -> None:
        self.said.append("all " + ",".join(item["metadata"]["name"] for item in items))

    def changed(self, kind: Kind, found: Object) -> None:
        self.said.append("+" + found["metadata"]["name"])

    def removed(self, kind: Kind, found: Object) -> None:
        self.said.append("-" + found["metadata"]["name"])


class Conversation:
    def __init__(self, *script: Any, resync: float = 0) -> None:
        self.server, self.heard, self.pauses = Server(*script), Heard(), list[float]()
        self.reflector = Reflector(VIRTUAL_SERVICE, self.server, self.heard, resync_seconds=resync, sleep=self._sleep)

    async def _sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)

    async def steps(self, count: int) -> Conversation:
        for _ in range(count):
            await self.reflector.step()
        return self


async def test_a_list_and_then_watches_from_the_newest_version_heard_of() -> None:
    talk = Conversation(
        Listing("10", [found("a", 3), found("b", 10)]),
        [event("ADDED", "c", 11), event("DELETED", "a", 12)],
        [WatchEvent("BOOKMARK", {"metadata": {"resourceVersion": "99"}})],
        [event("MODIFIED", "b", 100)],
        [],
    )
    await talk.steps(5)
    assert talk.heard.said == ["all a,b", "+c", "-a", "+b"]
    assert talk.server.asked == ["list", "watch 10", "watch 12", "watch 99", "watch 100"], "a bookmark moves a quiet kind on"
    assert (talk.pauses, talk.reflector.complaint) == ([], None)


@pytest.mark.parametrize("watch", [[GoneError()], [event("ADDED", "x", 11), GoneError()]])
async def test_a_version_that_is_forgotten_is_listed_again_at_once(watch: list[Any]) -> None:
    talk = await Conversation(Listing("10", []), watch, Listing("500", [found("a", 500)]), []).steps(4)
    assert talk.server.asked == ["list", "watch 10", "list", "watch 500"]
    assert talk.pauses == []


async def test_trouble_is_waited_out_longer_and_longer_and_the_watch_goes_on_where_it_was() -> None:
    talk = await Conversation(
        Listing("10", []), *([ApiError("down")] for _ in range(8)), [event("ADDED", "a", 11)], [ApiError("again")]
    ).steps(11)
    assert talk.server.asked == ["list", *["watch 10"] * 9, "watch 11"], "nothing is listed without need"
    *first, after = talk.pauses
    assert all(0.5 <= pause / bound <= 1 for pause, bound in zip(first, [0.5, 1, 2, 4, 8, 16, 30, 30], strict=True)), first
    assert max(first) <= LONGEST_PAUSE
    assert after <= 0.5, "an answer begins anew"
    assert talk.reflector.complaint == "again"


async def test_a_first_list_that_fails_is_tried_again() -> None:
    talk = await Conversation(ApiError("down"), Listing("1", [])).steps(2)
    assert (talk.server.asked, talk.heard.said) == (["list", "list"], ["all "])


async def test_a_kind_that_the_server_does_not_know_is_empty_until_it_does() -> None:
    talk = await Conversation(AbsentError(), Listing("7", [found("a", 7)]), [AbsentError()], Listing("9", [])).steps(4)
    assert talk.heard.said == ["all ", "all a", "all ", "all "]
    assert all(pause >= ABSENT_PAUSE for pause in talk.pauses)
    assert len(talk.pauses) == 2


async def test_everything_is_listed_again_after_the_resync_period() -> None:
    talk = Conversation(Listing("1", []), [], Listing("2", []), [], resync=0.05)
    await talk.steps(2)
    await asyncio.sleep(0.06)
    await talk.steps(2)
    assert talk.server.asked == ["list", "watch 1", "list", "watch 2"]
