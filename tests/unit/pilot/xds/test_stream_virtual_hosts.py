# SPDX-License-Identifier: Apache-2.0
"""Conversations with a proxy that discovers the virtual hosts of some of its route configurations."""

from __future__ import annotations

import pytest

from common.config.resource import ResourceKey
from pilot.xds.notices import Converged, Refused
from pilot.xds.subscription import SyncState
from tests.unit.pilot.xds.test_stream import versions
from tests.unit.pilot.xds.worlds import CDS, DISCOVERED, EDS, LDS, RDS, TYPES, VHDS, Heard, Talk, World

WORLD = World(
    clusters={"a": "1", "b": "1"},
    endpoints={"a": "10.0.0.1", "b": "10.0.0.2"},
    listeners={"http": "80", "web": "9080"},
    routes={"80": DISCOVERED, "9080": DISCOVERED, "inbound": "a"},
    hosts={"80/x": "a", "80/y": "b", "9080/*": "a", "9080/x": "a"},
)


def talk() -> Talk:
    return Talk(WORLD, delta=True)


def hosts(**changes: str) -> World:
    """The world with other virtual hosts of route configuration 80."""
    return WORLD.but(hosts={**WORLD.hosts, **{f"80/{name}": text for name, text in changes.items()}})


def discovering() -> Talk:
    """A proxy that heard route configuration 80 and its virtual hosts, and has not answered yet."""
    one = talk()
    one.asks(RDS, "80")
    one.hears()
    one.asks(VHDS)
    one.hears()
    return one


def held(talk: Talk) -> dict[str, dict[str, str]]:
    return {kind: versions(talk, kind) for kind in (CDS, EDS, LDS, RDS, VHDS)}


def refusals(talk: Talk) -> list[tuple[str, tuple[ResourceKey, ...]]]:
    return [(notice.name, notice.sources) for notice in talk.seen if isinstance(notice, Refused)]


def test_one_wildcard_request_brings_those_of_all_subscribed_route_configurations() -> None:
    one = talk()
    one.asks(RDS, "80", "9080", "inbound")
    assert one.hears() == Heard(RDS, ("80", "9080", "inbound"))
    one.asks(VHDS)  # before the RDS acknowledgement, as Envoy does
    assert one.hears() == Heard(VHDS, ("80/x", "80/y", "9080/*", "9080/x"))
    one.acks(RDS)
    one.acks(VHDS)
    assert one.hears() is None
    assert one.stream.subscriptions[TYPES[VHDS]].state is SyncState.SYNCED


def test_those_of_a_route_configuration_that_was_not_asked_for_are_left_out() -> None:
    one = talk()
    one.asks(RDS, "80")
    one.hears()
    one.asks(VHDS)
    assert one.hears() == Heard(VHDS, ("80/x", "80/y"))
    one.acks(VHDS)
    one.pass_time(1)
    one.world(WORLD.but(hosts={**WORLD.hosts, "9080/x": "b"}))
    assert one.hears() is None


def test_those_of_a_route_configuration_asked_for_later_follow_at_once_and_unasked() -> None:
    one = discovering()
    one.asks(RDS, "9080")
    assert one.hears() == Heard(RDS, ("9080",))
    assert one.hears() == Heard(VHDS, ("9080/*", "9080/x")), "although the first answer is not acknowledged: the listener warms"
    assert one.hears() is None


def test_a_route_configuration_that_is_not_discovered_brings_nothing() -> None:
    one = discovering()
    one.asks(RDS, "inbound")
    assert one.hears() == Heard(RDS, ("inbound",))
    one.acks(RDS)
    one.acks(VHDS)
    assert one.hears() is None
    assert [notice for notice in one.seen if isinstance(notice, Converged)] == [Converged(1)]


def test_those_of_a_dropped_route_configuration_are_called_removed() -> None:
    one = talk().connected()
    one.drops(RDS, "9080")
    assert one.hears() == Heard(VHDS, (), ("9080/*", "9080/x"))
    one.acks(VHDS)
    one.pass_time(1)
    one.asks(RDS, "9080")
    assert [one.hears(), one.hears()] == [Heard(RDS, ("9080",)), Heard(VHDS, ("9080/*", "9080/x"))]


def test_a_route_configuration_dropped_and_asked_for_in_one_go_brings_them_again() -> None:
    """First those from before are called removed: if the stream is lost now, Envoy must not say that it holds them."""
    again = [Heard(VHDS, (), ("9080/*", "9080/x")), Heard(RDS, ("9080",)), Heard(VHDS, ("9080/*", "9080/x"))]
    one = talk().connected()
    one.drops(RDS, "9080")
    one.asks(RDS, "9080")
    assert [one.hears(), one.hears(), one.hears()] == again
    one.acks(RDS)
    one.acks(VHDS)
    assert one.hears() is None
    one.asks(RDS, "9080")  # Envoy merges both into this
    assert [one.hears(), one.hears(), one.hears()] == again
    one.acks(RDS)
    one.acks(VHDS)
    assert one.hears() is None


def test_a_route_configuration_refused_for_another_brings_its_hosts_again() -> None:
    """Those that came after the refused response found no route configuration that waits for them."""
    one = discovering()
    one.acks(RDS)
    one.acks(VHDS)
    one.asks(RDS, "9080", "inbound")
    assert [one.hears(), one.hears()] == [Heard(RDS, ("9080", "inbound")), Heard(VHDS, ("9080/*", "9080/x"))]
    one.nacks(RDS, "no")
    one.acks(VHDS)
    assert [one.hears(), one.hears()] == [Heard(RDS, ("9080",)), Heard(VHDS, ("9080/*", "9080/x"))]
    one.acks(RDS)
    one.acks(VHDS)
    assert one.hears() == Heard(RDS, ("inbound",))


def test_a_changed_host_is_sent_alone_and_a_removed_one_called_removed() -> None:
    one = talk().connected()
    one.world(hosts(x="b"))
    assert one.hears() == Heard(VHDS, ("80/x",))
    one.acks(VHDS)
    one.pass_time(1)
    one.world(WORLD.but(hosts={"80/y": "b", "80/z": "a", "9080/*": "a", "9080/x": "a"}))
    assert one.hears() == Heard(VHDS, ("80/z",), ("80/x",))
    one.acks(VHDS)
    assert one.hears() is None


def test_pushes_keep_their_distance_and_the_newest_wins() -> None:
    one = talk().connected()
    one.world(hosts(x="1:b"))
    assert one.hears() == Heard(VHDS, ("80/x",)), "idle: at once"
    one.acks(VHDS)
    for last in range(2, 6):
        one.pass_time(0.01)
        one.world(hosts(x=f"{last}:b"))
        assert one.hears() is None
    assert one.stream.wake_at == pytest.approx(1010.1)
    one.now = one.stream.wake_at
    heard = one.hears()
    assert heard == Heard(VHDS, ("80/x",)) and b"5:b" in heard.bodies["80/x"]


def test_what_a_new_route_configuration_brings_does_not_wait_for_the_pace() -> None:
    one = discovering()
    one.acks(RDS)
    one.acks(VHDS)
    one.world(hosts(x="b"))
    assert one.hears() == Heard(VHDS, ("80/x",))
    one.asks(RDS, "9080")
    assert [one.hears(), one.hears()] == [Heard(RDS, ("9080",)), Heard(VHDS, ("9080/*", "9080/x"))]


def test_make_before_break() -> None:
    """Cluster b is replaced by c, to which a virtual host leads."""
    one = talk().connected()
    one.world(hosts(y="c").but(clusters={"a": "1", "c": "1"}, endpoints={"a": "10.0.0.1", "c": "10.0.0.3"}))
    assert [one.hears(), one.hears(), one.hears()] == [Heard(CDS, ("c",)), Heard(EDS, ("c",)), Heard(VHDS, ("80/y",))]
    one.acks(CDS)
    one.acks(EDS)
    one.pass_time(1)
    assert one.hears() is None, "the virtual host is not acknowledged: b may still be in use"
    one.acks(VHDS)
    assert one.hears() == Heard(CDS, (), ("b",))


def test_state_of_the_world_has_no_virtual_hosts() -> None:
    one = Talk(WORLD, delta=False).connected()
    one.asks(VHDS)
    assert one.hears() is None
    assert TYPES[VHDS] not in one.stream.subscriptions


# -- reconnecting -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hosts_first", [True, False])
def test_reconnecting_brings_the_differences_only(hosts_first: bool) -> None:
    before = held(talk().connected())
    after = Talk(hosts(x="b"), delta=True)
    requests = [(RDS, ("80", "9080", "inbound")), (VHDS, ())]
    heard = []
    for kind, names in reversed(requests) if hosts_first else requests:
        after.asks(kind, *names, known=before[kind])
        heard.append(after.hears())
    heard.append(after.hears())
    assert [one for one in heard if one is not None] == [Heard(RDS, ()), Heard(VHDS, ("80/x",))]


@pytest.mark.parametrize("hosts_first", [True, False])
def test_reconnecting_without_a_route_configuration_removes_its_hosts(hosts_first: bool) -> None:
    before = held(talk().connected())
    after = talk()
    if hosts_first:
        after.asks(VHDS, known=before[VHDS])
    after.asks(RDS, "80", known={"80": before[RDS]["80"]})
    if not hosts_first:
        after.asks(VHDS, known=before[VHDS])
    assert [after.hears(), after.hears()] == [Heard(RDS, ()), Heard(VHDS, (), ("9080/*", "9080/x"))]


def test_what_a_proxy_holds_stays_until_it_can_have_named_its_routes() -> None:
    """Once its last HTTP listener is gone, Envoy names no route when it reconnects, but all the virtual hosts that it ever heard of."""
    before = held(talk().connected())
    after = talk()
    after.asks(VHDS, known=before[VHDS])
    assert after.hears() is None
    assert after.stream.wake_at == pytest.approx(after.now + 5)
    after.now = after.stream.wake_at
    assert after.hears() == Heard(VHDS, (), ("80/x", "80/y", "9080/*", "9080/x"))
    after.acks(VHDS)
    assert after.hears() is None
    assert [notice for notice in after.seen if isinstance(notice, Converged)] == [Converged(1)], "such a proxy converges too"
    after.asks(RDS, "80")
    assert [after.hears(), after.hears()] == [Heard(RDS, ("80",)), Heard(VHDS, ("80/x", "80/y"))]


def test_clusters_are_removed_from_a_proxy_that_came_back_without_routes() -> None:
    before = held(talk().connected())
    after = Talk(World(clusters={"a": "1"}, endpoints={"a": "10.0.0.1"}), delta=True)
    for kind, names in ((CDS, ()), (EDS, ("a", "b")), (LDS, ()), (VHDS, ())):
        after.asks(kind, *names, known=before[kind] if kind != LDS else {})
        if kind != VHDS:
            assert after.hears() is not None
            after.acks(kind)
    assert after.hears() is None, "its virtual hosts may still lead to b"
    after.pass_time(5)
    assert after.hears() == Heard(VHDS, (), tuple(sorted(WORLD.hosts)))
    after.acks(VHDS)
    assert after.hears() == Heard(CDS, (), ("b",))


@pytest.mark.parametrize("hosts_first", [True, False])
def test_what_it_holds_of_a_route_configuration_that_it_has_anew_does_not_count(hosts_first: bool) -> None:
    """Envoy dropped 9080, asked for it again, and the stream was lost before Pilot could call the hosts removed: it holds none of them."""
    before = held(talk().connected())
    after = talk()
    if hosts_first:
        after.asks(VHDS, known=before[VHDS])
    after.asks(RDS, "80", "9080", known={"80": before[RDS]["80"]})
    if not hosts_first:
        after.asks(VHDS, known=before[VHDS])
    assert [after.hears(), after.hears()] == [Heard(RDS, ("9080",)), Heard(VHDS, ("9080/*", "9080/x"))]


# -- refusals -----------------------------------------------------------------------------------------------------------------------


def test_a_refused_host_is_held_back_alone_and_named_with_its_source() -> None:
    one = talk().connected()
    one.world(WORLD.but(hosts={**WORLD.hosts, "80/x": "bad", "9080/x": "b"}))
    assert one.hears() == Heard(VHDS, ("80/x", "9080/x"))
    one.nacks(VHDS, "regex too big")
    assert one.hears() == Heard(VHDS, ("80/x",))
    one.nacks(VHDS, "regex too big")
    assert one.hears() == Heard(VHDS, ("9080/x",))
    one.acks(VHDS)
    assert one.hears() == Heard(VHDS, ("80/x",)), "once more: it may have been right but for the other"
    one.nacks(VHDS, "regex too big")
    assert one.hears() is None
    assert one.stream.subscriptions[TYPES[VHDS]].state is SyncState.REJECTED
    assert set(refusals(one)) == {("80/x", (ResourceKey("tests", "default", "80/x"),))}
    one.pass_time(1)
    one.world(WORLD.but(hosts={**WORLD.hosts, "80/x": "bad", "9080/x": "2:b"}))
    assert one.hears() == Heard(VHDS, ("9080/x",)), "others change on"
    one.acks(VHDS)
    one.pass_time(1)
    one.world(WORLD.but(hosts={**WORLD.hosts, "80/x": "mended", "9080/x": "2:b"}))
    assert one.hears() == Heard(VHDS, ("80/x",))
    one.acks(VHDS)
    assert one.hears() is None
    assert one.stream.subscriptions[TYPES[VHDS]].state is SyncState.SYNCED


def test_what_was_removed_beside_a_refused_host_is_called_removed_again() -> None:
    """Envoy applies nothing of a route configuration's update that it refuses, removals neither."""
    one = talk().connected()
    one.world(WORLD.but(hosts={"80/x": "bad", "9080/*": "a", "9080/x": "a"}))
    assert one.hears() == Heard(VHDS, ("80/x",), ("80/y",))
    one.nacks(VHDS, "no")
    one.pass_time(0.1)
    assert one.hears() == Heard(VHDS, (), ("80/y",))
    one.acks(VHDS)
    assert one.hears() is None


def test_a_removal_that_was_refused_goes_before_the_suspects() -> None:
    """One of them may want a domain of the removed host."""
    one = talk().connected()
    one.world(WORLD.but(hosts={"80/x": "bad", "80/z": "b", "9080/*": "a", "9080/x": "a"}))
    assert one.hears() == Heard(VHDS, ("80/x", "80/z"), ("80/y",))
    one.nacks(VHDS, "no")
    assert one.hears() is None
    one.pass_time(0.1)
    assert one.hears() == Heard(VHDS, (), ("80/y",))
    one.acks(VHDS)
    assert one.hears() == Heard(VHDS, ("80/x",))


def test_a_refused_host_is_tried_again_when_another_refused_one_is_mended() -> None:
    """x wants a domain that y gives up, but y's new form is refused for something else: x is right as soon as y is mended."""
    one = talk().connected()
    one.world(hosts(x="takes", y="bad"))
    assert one.hears() == Heard(VHDS, ("80/x", "80/y"))
    one.nacks(VHDS, "no")
    for name in ("80/x", "80/y"):
        assert one.hears() == Heard(VHDS, (name,))
        one.nacks(VHDS, "no")
    assert one.hears() is None
    one.pass_time(1)
    one.world(hosts(x="takes", y="gives"))
    heard = one.hears()
    assert heard is not None and set(heard.names) == {"80/x", "80/y"}
    one.acks(VHDS)
    assert one.hears() is None
    assert one.stream.subscriptions[TYPES[VHDS]].state is SyncState.SYNCED


def test_a_host_refused_before_another_was_accepted_is_tried_once_more() -> None:
    """x wants a domain that y gives up; both were in a response with something bad, and x was tried first."""
    one = talk().connected()
    one.world(hosts(x="takes", y="gives", z="bad"))
    assert one.hears() == Heard(VHDS, ("80/x", "80/y", "80/z"))
    one.nacks(VHDS, "no")
    for name, right in (("80/x", False), ("80/y", True), ("80/z", False), ("80/x", True), ("80/z", False)):
        heard = one.hears()
        assert heard == Heard(VHDS, (name,))
        if right:
            one.acks(VHDS)
        else:
            one.nacks(VHDS, "no")
    assert one.hears() is None
    held_back = one.stream.subscriptions[TYPES[VHDS]].trouble
    assert held_back is not None and set(held_back.held) == {"80/z"}


def test_clusters_wait_for_the_virtual_hosts_that_may_lead_there() -> None:
    """A refused host stays in its old form, and so does the cluster to which that leads."""
    one = talk().connected()
    one.world(hosts(y="bad").but(clusters={"a": "1"}))
    assert one.hears() == Heard(VHDS, ("80/y",))
    one.nacks(VHDS, "no")
    one.pass_time(10)
    assert one.hears() is None
    one.world(hosts(y="a").but(clusters={"a": "1"}))
    assert one.hears() == Heard(VHDS, ("80/y",))
    one.acks(VHDS)
    assert one.hears() == Heard(CDS, (), ("b",))
