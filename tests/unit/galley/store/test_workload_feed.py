# SPDX-License-Identifier: Apache-2.0
"""What watchers hear of registered workloads, and where a watch may go on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from common.config.kinds.networking import WorkloadEntry
from common.database import Writer, create
from common.database.engine import sqlite_url
from galley.errors import BadRequestError, ExpiredError
from galley.store.leases import Leases
from galley.store.workload_feed import Position, WorkloadFeed
from galley.store.workloads import Workloads


class Scene:
    """Workloads that come and go beside a store whose revision the test sets."""

    def __init__(self, writer: Writer, *, kept: int = 100) -> None:
        self.revision = 10
        self.leases = Leases(lambda: 0.0)
        self.workloads = Workloads(writer, self.leases, start=3)
        self.come("early")
        self.feed = WorkloadFeed(self.workloads, lambda: self.revision, start=3, kept=kept)

    def come(self, name: str, address: str = "127.0.0.7") -> str:
        spec = WorkloadEntry(address=address, serviceAccount="x")
        lease = self.leases.register(namespace="default", name=name, spec=spec, healthy=True, at="").lease
        self.workloads.changed()
        return lease

    def go(self, lease: str) -> None:
        self.leases.deregister(lease)
        self.workloads.changed()

    def since(self, version: str) -> list[tuple[str, str]]:
        return [(event.type, event.resource.name) for event in self.feed.since(self.feed.position(version).number)]


@pytest.fixture
async def writer(tmp_path: Path) -> AsyncIterator[Writer]:
    async with Writer.open(create(sqlite_url(tmp_path / "x.db")), name="test") as opened:
        yield opened


@pytest.fixture
def scene(writer: Writer) -> Scene:
    return Scene(writer)


async def test_a_workload_that_stays_as_it_is_stays_the_same_object(scene: Scene) -> None:
    before = {each.name: each for each in scene.workloads.resources()}
    scene.come("a")
    scene.come("early", "127.0.0.8")
    after = {each.name: each for each in scene.workloads.resources()}
    scene.come("b")
    again = {each.name: each for each in scene.workloads.resources()}
    assert (before["early"].spec.address, after["early"].spec.address) == ("127.0.0.7", "127.0.0.8")
    assert again["a"] is after["a"]
    assert scene.workloads.get(("default", "a")) is after["a"]
    assert again["early"] is after["early"]


async def test_what_happens_after_a_list_is_heard_once(scene: Scene) -> None:
    version = scene.feed.version(scene.feed.now)
    assert scene.since(version) == [], "who was there at the start is in the list"
    wake = scene.feed.next_append()
    lease = scene.come("a")
    assert wake.is_set()
    scene.come("a", address="127.0.0.8")
    assert scene.since(version) == [("ADDED", "a"), ("MODIFIED", "a")]
    scene.leases.heartbeat(lease, healthy=True)
    scene.workloads.changed()
    scene.go(scene.leases.known["default", "a"].lease)
    assert scene.since(version)[2:] == [("DELETED", "a")]
    events = scene.feed.since(0)
    assert scene.since(scene.feed.at(events[1]).metadata.resourceVersion) == [("DELETED", "a")]


async def test_an_unhealthy_workload_is_gone(scene: Scene) -> None:
    lease = scene.come("a")
    version = scene.feed.version(scene.feed.now)
    for healthy in (False, False, True):
        scene.leases.heartbeat(lease, healthy=healthy)
        scene.workloads.changed()
    assert scene.since(version) == [("DELETED", "a"), ("ADDED", "a")]


async def test_a_revision_alone_is_a_position_too(scene: Scene) -> None:
    scene.revision = 11
    scene.come("a")
    scene.revision = 12
    scene.come("b")
    scene.come("c")
    scene.revision = 13
    assert scene.feed.position("12") == Position(12, 1)
    assert scene.since("12") == [("ADDED", "b"), ("ADDED", "c")], "at least what followed"
    assert scene.since("13") == []
    with pytest.raises(ExpiredError):
        scene.feed.position("10")  # of before the start, when this feed heard nothing


async def test_a_workloads_own_version_is_a_position_too(scene: Scene) -> None:
    scene.come("a")
    scene.revision = 12
    scene.come("b")
    resource = scene.workloads.get(("default", "a"))
    assert resource is not None
    assert scene.feed.position(resource.metadata.resourceVersion) == Position(10, 1)
    assert scene.since(resource.metadata.resourceVersion) == [("ADDED", "b")]


async def test_old_positions_are_refused_instead_of_leaving_a_gap(writer: Writer) -> None:
    scene = Scene(writer, kept=2)
    first = scene.feed.version(scene.feed.now)
    for name in "abcd":
        scene.revision += 1
        scene.come(name)
    with pytest.raises(ExpiredError, match="list again"):
        scene.since(first)
    for version in ("11", "12", "2.5.1", "11.2.1", "99.3.77", "3.99"):
        with pytest.raises(ExpiredError):
            scene.since(version)
    assert scene.since("13") == [("ADDED", "c"), ("ADDED", "d")]
    for version in ("", "x", "1.2.3.4", "-1", "1.²", "9" * 30):
        with pytest.raises(BadRequestError):
            scene.feed.position(version)
