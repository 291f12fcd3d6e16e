# SPDX-License-Identifier: Apache-2.0
"""Made once, shared by all, and never wrong."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Hashable

import pytest
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryResponse

from common.config.resource import ResourceKey
from common.mesh.names import TYPE_CLUSTER, TYPE_ENDPOINT
from pilot.networking.generator import GroupKey
from pilot.xds.cache import Epoch, ImpureGenerator
from pilot.xds.frames import Framed
from pilot.xds.names import NameSets
from pilot.xds.requests import Request
from pilot.xds.stream import Stream
from tests.unit.pilot.xds.worlds import World, WorldGenerator, group_key

NAMES = NameSets().intern(f"s{number}" for number in range(50))
WORLD = World(clusters=dict.fromkeys(NAMES, "1"), endpoints=dict.fromkeys(NAMES, "10.0.0.1"))


def after(epoch: Epoch[World, str], world: World, generator: WorldGenerator) -> Epoch[World, str]:
    return Epoch(world, generator, version="2", previous=epoch)


@pytest.fixture
def generator() -> WorldGenerator:
    return WorldGenerator()


@pytest.fixture
def epoch(generator: WorldGenerator) -> Epoch[World, str]:
    return Epoch(WORLD, generator, version="1")


def test_like_proxies_share_one_view_and_generate_once(epoch: Epoch[World, str], generator: WorldGenerator) -> None:
    views = {id(epoch.view(f"proxy-{number}", TYPE_ENDPOINT, NAMES)) for number in range(10)}
    assert len(views) == 1
    assert len(generator.generated) == 50


def test_one_changed_endpoint_rebuilds_one_assignment(epoch: Epoch[World, str], generator: WorldGenerator) -> None:
    before = epoch.view("p", TYPE_ENDPOINT, NAMES)
    generator.generated.clear()
    newer = after(epoch, WORLD.but(endpoints={**WORLD.endpoints, "s7": "10.0.0.7"}), generator)
    now = newer.view("p", TYPE_ENDPOINT, NAMES)
    assert generator.generated == [group_key(TYPE_ENDPOINT, "one", "s7")]
    (part,) = newer.step(before, now)
    assert [frame.name for frame in part.frames] == ["s7"] and part.removed == ()
    assert newer.step(before, now)[0] is part, "and the step is made once"
    assert newer.delta(TYPE_ENDPOINT, (part,)) is newer.delta(TYPE_ENDPOINT, (part,)), "and so are the bytes"


def test_an_unchanged_view_keeps_its_identity(epoch: Epoch[World, str], generator: WorldGenerator) -> None:
    before = epoch.view("p", TYPE_ENDPOINT, NAMES)
    assert after(epoch, WORLD.but(clusters={}), generator).view("p", TYPE_ENDPOINT, NAMES) is before


def test_equal_resources_of_different_groups_share_their_bytes_and_keep_their_sources() -> None:
    first, second = (Framed(TYPE_ENDPOINT, "s1", b"\n\x02s1\x12\x00", (ResourceKey("c", name, "x"),)) for name in ("a", "b"))
    other = Framed(TYPE_ENDPOINT, "s1", b"\n\x02s1", ())
    assert first.wire is second.wire and first.sources != second.sources
    assert other.wire is not first.wire and other.version != first.version
    assert (first.body, other.body) == (b"\n\x02s1\x12\x00", b"\n\x02s1"), "the body is read back out of the framed bytes"
    (read,) = DeltaDiscoveryResponse.FromString(first.wire.delta).resources
    assert (read.name, read.version, read.resource.value) == ("s1", first.version, first.body)
    assert first.wire.holds(first.body) and not first.wire.holds(other.body) and not other.wire.holds(first.body)


def test_a_fingerprint_that_changes_for_nothing_changes_nothing(epoch: Epoch[World, str], generator: WorldGenerator) -> None:
    before = epoch.view("p", TYPE_CLUSTER, None)

    class Restless(WorldGenerator):
        def fingerprint(self, push: World, key: GroupKey) -> Hashable:
            return object()

    newer: Epoch[World, str] = Epoch(WORLD, Restless(), version="2", previous=epoch)
    assert newer.view("p", TYPE_CLUSTER, None) is before


def test_versions_follow_content_and_not_the_process(epoch: Epoch[World, str]) -> None:
    first = epoch.view("p", TYPE_CLUSTER, None).get("s1")
    second = Epoch[World, str](WORLD, WorldGenerator(), version="other").view("p", TYPE_CLUSTER, None).get("s1")
    assert first is not None and second is not None and first is not second and first.version == second.version


def test_assertion_mode_finds_a_key_with_two_values() -> None:
    class Forgetful(WorldGenerator):
        def fingerprint(self, push: World, key: GroupKey) -> Hashable:
            return 1

    generator = Forgetful()
    first: Epoch[World, str] = Epoch(WORLD, generator, version="1", check=True)
    first.view("p", TYPE_CLUSTER, None)
    second: Epoch[World, str] = Epoch(WORLD.but(clusters={"s1": "2"}), generator, version="2", previous=first, check=True)
    with pytest.raises(ImpureGenerator, match="s1"):
        second.view("p", TYPE_CLUSTER, None)


def test_a_group_that_fails_keeps_what_it_had(epoch: Epoch[World, str], generator: WorldGenerator) -> None:
    before = epoch.view("p", TYPE_ENDPOINT, NAMES)
    generator.failing.add(group_key(TYPE_ENDPOINT, "one", "s7"))
    told: list[object] = []
    newer: Epoch[World, str] = Epoch(
        WORLD.but(endpoints=dict.fromkeys(NAMES, "10.9.9.9")),
        generator,
        version="2",
        previous=epoch,
        on_error=lambda key, error: told.append(key),
    )
    now = newer.view("p", TYPE_ENDPOINT, NAMES)
    assert told == [group_key(TYPE_ENDPOINT, "one", "s7")]
    assert now.get("s7") is before.get("s7") and now.get("s8") is not before.get("s8")


def test_a_nonce_is_not_given_twice_to_one_stream(epoch: Epoch[World, str]) -> None:
    parts = epoch.step(None, epoch.view("p", TYPE_CLUSTER, None))
    first = epoch.sotw(TYPE_CLUSTER, parts)
    again = epoch.sotw(TYPE_CLUSTER, parts, unlike=first.nonce)
    assert again.nonce != first.nonce


def test_a_name_that_moves_between_groups_is_not_removed(generator: WorldGenerator) -> None:
    class Split(WorldGenerator):
        def plan(self, push: World, proxy: str, type_url: str, names: object) -> tuple[GroupKey, ...]:
            return (
                (group_key(type_url, "one", "a"), group_key(type_url, "all"))
                if "moved" in push.listeners
                else (group_key(type_url, "all"),)
            )

        def fingerprint(self, push: World, key: GroupKey) -> Hashable:
            return (super().fingerprint(push, key), "moved" in push.listeners)

        def generate(self, push: World, key: GroupKey):  # type: ignore[no-untyped-def]
            made = super().generate(push, key)
            return tuple(one for one in made if one.name != "a") if key.kind == "all" and "moved" in push.listeners else made

    split = Split()
    first: Epoch[World, str] = Epoch(World({"a": "1", "b": "1"}), split, version="1")
    before = first.view("p", TYPE_CLUSTER, None)
    second: Epoch[World, str] = Epoch(World({"a": "1", "b": "1"}, listeners={"moved": ""}), split, version="2", previous=first)
    now = second.view("p", TYPE_CLUSTER, None)
    assert [name for part in second.step(before, now) for name in part.removed] == []


def test_groups_that_nobody_asks_for_are_forgotten(epoch: Epoch[World, str], generator: WorldGenerator) -> None:
    epoch.view("p", TYPE_ENDPOINT, NAMES)
    newest = epoch
    for _ in range(10):
        newest = after(newest, WORLD, generator)
        newest.view("p", TYPE_CLUSTER, None)
    assert sum(map(len, newest._before.values())) <= 2


def test_an_epoch_that_is_over_goes_without_the_garbage_collector(generator: WorldGenerator) -> None:
    """It holds a whole snapshot. In a cycle that would stay, push after push, until Python looks for cycles, 30 ms later for all."""
    gc.disable()
    try:
        newest: Epoch[World, str] = Epoch(WORLD, generator, version="1")
        gone = []
        for number in range(3):
            view = newest.view("p", TYPE_CLUSTER, None)
            stream = Stream("p", newest, delta=True)
            stream.receive(Request(TYPE_CLUSTER), 0.0)
            sent = stream.next(0.0)
            assert sent is not None and sent.payload and newest.sotw(TYPE_CLUSTER, newest.step(None, view)).payload
            gone.append(weakref.ref(newest))
            newest = Epoch(WORLD.but(clusters={"s1": str(number)}), generator, version=str(number), previous=newest)
            newest.prepare([("p", TYPE_CLUSTER, None)])
            del view, stream, sent
        assert [reference() for reference in gone] == [None, None, None]
    finally:
        gc.enable()
