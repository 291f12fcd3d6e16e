# SPDX-License-Identifier: Apache-2.0
"""Conversations with one proxy. What both variants must do is told once for both; what differs has its own tests below."""

from __future__ import annotations

import pytest

from pilot.xds.notices import Acked, Converged, Expired
from pilot.xds.subscription import SyncState
from tests.unit.pilot.xds.worlds import CDS, EDS, LDS, RDS, TYPES, Heard, Talk, World

WORLD = World(
    clusters={"a": "1", "b": "1"},
    endpoints={"a": "10.0.0.1", "b": "10.0.0.2"},
    listeners={"http": "web"},
    routes={"web": "a"},
)


@pytest.fixture(params=[True, False], ids=["delta", "sotw"])
def talk(request: pytest.FixtureRequest) -> Talk:
    return Talk(WORLD, delta=request.param)


def all_or(talk: Talk, changed: tuple[str, ...], everything: tuple[str, ...]) -> tuple[str, ...]:
    """A delta push of CDS or LDS holds what changed, a state-of-the-world push everything."""
    return changed if talk.delta else everything


def test_each_type_is_answered_when_it_is_asked_for(talk: Talk) -> None:
    talk.asks(CDS)
    assert talk.hears() == Heard(CDS, ("a", "b"))
    talk.asks(EDS, "a", "b")  # before the CDS acknowledgement, as Envoy does
    assert talk.hears() == Heard(EDS, ("a", "b"))
    talk.acks(CDS)
    talk.acks(EDS, ("a", "b"))
    assert talk.hears() is None
    talk.asks(LDS)
    assert talk.hears() == Heard(LDS, ("http",))
    talk.asks(RDS, "web")
    assert talk.hears() == Heard(RDS, ("web",))
    assert talk.hears() is None


def test_a_type_with_nothing_in_it_is_answered_too(talk: Talk) -> None:
    talk.world(World())
    talk.asks(LDS)
    assert talk.hears() == Heard(LDS, ())
    talk.acks(LDS)
    assert talk.hears() is None


def test_one_endpoint_changes_and_only_its_assignment_is_sent(talk: Talk) -> None:
    talk.connected()
    talk.world(WORLD.but(endpoints={"a": "10.0.0.9", "b": "10.0.0.2"}))
    assert talk.hears() == Heard(EDS, ("a",))
    talk.acks(EDS, ("a", "b"))
    assert talk.hears() is None


def test_make_before_break(talk: Talk) -> None:
    """Cluster a is replaced by c: c comes first, a goes when no route leads to it any more, and keeps its endpoints until then."""
    talk.connected()
    talk.world(
        World(clusters={"b": "1", "c": "1"}, endpoints={"b": "10.0.0.2", "c": "10.0.0.3"}, listeners={"http": "web"}, routes={"web": "c"})
    )
    assert talk.hears() == Heard(CDS, all_or(talk, ("c",), ("b", "c", "a")))
    assert talk.hears() == Heard(EDS, ("c",)), "endpoints of a new cluster go with it, before Envoy asks; those of a stay"
    assert talk.hears() == Heard(RDS, ("web",)), "without waiting for the CDS acknowledgement"
    talk.acks(CDS)
    talk.acks(EDS, ("a", "b"))
    assert talk.hears() is None, "the route is not acknowledged: a may still be in use"
    talk.pass_time(1)
    assert talk.hears() is None
    talk.acks(RDS, ("web",))
    assert talk.hears() == (Heard(CDS, (), ("a",)) if talk.delta else Heard(CDS, ("b", "c")))
    talk.acks(CDS)
    assert talk.hears() is None


def test_removal_keeps_its_distance_from_the_addition(talk: Talk) -> None:
    talk.connected()
    talk.world(World(clusters={"b": "2"}, endpoints=WORLD.endpoints, listeners=WORLD.listeners, routes={"web": "b"}))
    assert talk.hears() == Heard(CDS, all_or(talk, ("b",), ("b", "a")))
    assert talk.hears() == Heard(EDS, ("b",))
    assert talk.hears() == Heard(RDS, ("web",))
    talk.acks(RDS, ("web",))
    assert talk.hears() is None
    assert talk.stream.wake_at == pytest.approx(talk.now + 0.1)
    talk.pass_time(0.1)
    heard = talk.hears()
    assert heard is not None and heard.type == CDS and "a" not in heard.names


def test_a_changed_cluster_is_followed_by_its_unchanged_endpoints(talk: Talk) -> None:
    talk.connected()
    talk.world(WORLD.but(clusters={"a": "2", "b": "1"}))
    assert talk.hears() == Heard(CDS, all_or(talk, ("a",), ("a", "b")))
    assert talk.hears() == Heard(EDS, ("a",))
    assert talk.hears() is None


def test_a_changed_cluster_without_discovery_is_not_followed(talk: Talk) -> None:
    talk.world(WORLD.but(clusters={"a": "1", "b": "static"}))
    talk.connected()
    talk.world(WORLD.but(clusters={"a": "1", "b": "static again"}))
    heard = talk.hears()
    assert heard is not None and heard.type == CDS
    assert talk.hears() is None


def test_pushes_of_a_type_keep_their_distance_and_the_newest_wins(talk: Talk) -> None:
    talk.connected()
    talk.world(WORLD.but(endpoints={"a": "10.1.0.1", "b": "10.0.0.2"}))
    assert talk.hears() == Heard(EDS, ("a",)), "idle: at once"
    talk.acks(EDS, ("a", "b"))
    for last in range(2, 9):
        talk.pass_time(0.01)
        talk.world(WORLD.but(endpoints={"a": f"10.1.0.{last}", "b": "10.0.0.2"}))
        assert talk.hears() is None
    assert talk.stream.wake_at == pytest.approx(1010.1)
    talk.now = talk.stream.wake_at
    heard = talk.hears()
    assert heard == Heard(EDS, ("a",)) and b"10.1.0.8" in heard.bodies["a"]


def test_another_type_is_not_held_back_unless_something_before_it_waits(talk: Talk) -> None:
    talk.connected()
    endpoints = {"a": "10.1.0.1", "b": "10.0.0.2"}
    talk.world(WORLD.but(endpoints=endpoints))
    assert talk.hears() == Heard(EDS, ("a",))
    talk.acks(EDS, ("a", "b"))
    talk.world(WORLD.but(endpoints=endpoints, routes={"web": "b"}))
    assert talk.hears() == Heard(RDS, ("web",))
    talk.acks(RDS, ("web",))
    talk.world(WORLD.but(endpoints={"a": "10.1.0.2", "b": "10.0.0.2"}, routes={"web": "2:b"}))
    assert talk.hears() is None
    talk.pass_time(0.1)
    assert [talk.hears(), talk.hears()] == [Heard(EDS, ("a",)), Heard(RDS, ("web",))]


def test_an_unanswered_push_holds_back_the_next_of_its_type_but_not_for_ever(talk: Talk) -> None:
    talk.connected()
    talk.world(WORLD.but(routes={"web": "b"}))
    assert talk.hears() == Heard(RDS, ("web",))
    talk.pass_time(1)
    talk.world(WORLD.but(routes={"web": "2:b"}))
    assert talk.hears() is None
    talk.pass_time(5)
    assert talk.hears() == Heard(RDS, ("web",))


def test_an_unanswered_cluster_push_holds_back_nothing(talk: Talk) -> None:
    talk.connected()
    talk.world(WORLD.but(clusters={"a": "2", "b": "1"}))
    assert talk.hears() is not None
    assert talk.hears() == Heard(EDS, ("a",))
    talk.acks(EDS, ("a", "b"))
    talk.pass_time(0.1)
    talk.world(WORLD.but(clusters={"a": "3", "b": "1"}))
    assert talk.hears() == Heard(CDS, all_or(talk, ("a",), ("a", "b")))


def test_a_snapshot_that_changes_nothing_sends_nothing(talk: Talk) -> None:
    talk.connected()
    talk.world(WORLD.but())
    assert talk.hears() is None
    assert talk.stream.wake_at == float("inf")


def test_only_what_is_asked_for_again_is_sent_again(talk: Talk) -> None:
    talk.connected()
    talk.world(WORLD.but(endpoints={**WORLD.endpoints, "x": "10.0.0.7"}))
    assert talk.hears() is None
    if talk.delta:
        talk.asks(EDS, "x")
    else:
        talk.acks(EDS, ("a", "b", "x"))
    assert talk.hears() == Heard(EDS, ("x",))


def test_an_unknown_name_is_answered_so_that_envoy_does_not_wait(talk: Talk) -> None:
    talk.connected()
    if talk.delta:
        talk.asks(RDS, "nowhere")
    else:
        talk.acks(RDS, ("web", "nowhere"))
    assert talk.hears() == Heard(RDS, ("nowhere",))


def test_a_route_that_turns_unknown_is_left_alone_while_its_listener_may_use_it(talk: Talk) -> None:
    talk.connected()
    talk.world(WORLD.but(listeners={"http": "other"}, routes={"other": "a"}))
    assert talk.hears() == Heard(LDS, ("http",))
    assert talk.hears() is None, "an empty `web` would answer 404 to requests on draining connections"


def test_a_stale_answer_is_counted_and_nothing_else(talk: Talk) -> None:
    talk.connected()
    talk.seen.clear()
    talk.acks(RDS, ("web",), heard=Heard(RDS, (), nonce="99.99"))
    assert talk.hears() is None
    assert talk.seen == [Expired(TYPES[RDS], "99.99")]


def test_an_acknowledgement_covers_the_pushes_before_it(talk: Talk) -> None:
    talk.connected()
    for text in ("2", "3"):
        talk.world(WORLD.but(clusters={"a": text, "b": "1"}))
        heard = talk.hears()
        assert heard is not None and heard.type == CDS
        assert talk.hears() == Heard(EDS, ("a",))
        talk.acks(EDS, ("a", "b"))
        talk.pass_time(1)
    talk.acks(CDS)
    talk.hears()
    assert talk.stream.subscriptions[TYPES[CDS]].state is SyncState.SYNCED


def test_convergence_is_told_once_when_the_last_answer_is_in(talk: Talk) -> None:
    talk.connected()
    talk.seen.clear()
    talk.world(WORLD.but(clusters={"a": "2", "b": "1"}, routes={"web": "2:a"}))
    kinds = []
    while (heard := talk.hears()) is not None:
        kinds.append(heard.type)
    assert kinds == [CDS, EDS, RDS]
    for kind, names in ((CDS, ()), (EDS, ("a", "b")), (RDS, ("web",))):
        assert not any(isinstance(notice, Converged) for notice in talk.seen)
        talk.acks(kind, names)
        talk.hears()
    talk.hears()
    assert [notice for notice in talk.seen if isinstance(notice, Converged)] == [Converged(2)]
    assert [notice.type_url for notice in talk.seen if isinstance(notice, Acked)] == [TYPES[CDS], TYPES[EDS], TYPES[RDS]]


def test_states_as_proxy_status_shows_them(talk: Talk) -> None:
    talk.asks(CDS)
    subscription = talk.stream.subscriptions[TYPES[CDS]]
    states = [subscription.state]
    talk.hears()
    states.append(subscription.state)
    talk.acks(CDS)
    states.append(subscription.state)
    assert states == [SyncState.NOT_SENT, SyncState.STALE, SyncState.SYNCED]


def test_unknown_types_are_ignored(talk: Talk) -> None:
    talk.connected()
    TYPES["SDS"] = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"
    try:
        talk.asks("SDS", "default")
    finally:
        del TYPES["SDS"]
    assert talk.hears() is None


def test_clusters_can_be_asked_for_by_name(talk: Talk) -> None:
    talk.asks(CDS, "b")
    assert talk.hears() == Heard(CDS, ("b",))
    talk.acks(CDS, ("b",))
    talk.pass_time(1)
    talk.world(WORLD.but(clusters={"a": "2", "b": "1"}))
    assert talk.hears() is None
    talk.world(WORLD.but(clusters={"a": "2", "b": "2"}))
    assert talk.hears() == Heard(CDS, ("b",))


# -- delta only ---------------------------------------------------------------------------------------------------------------------


def versions(talk: Talk, kind: str) -> dict[str, str]:
    view = talk.stream.subscriptions[TYPES[kind]].view
    assert view is not None
    return {frame.name: frame.version for frame in view}


def test_reconnecting_with_known_versions_sends_only_the_difference() -> None:
    before = Talk(WORLD, delta=True).connected()
    held = {kind: versions(before, kind) for kind in (CDS, EDS, LDS, RDS)}
    after = Talk(
        World(clusters={"b": "1", "c": "1"}, endpoints={"b": "10.0.0.2", "c": "10.0.0.3"}, listeners={"http": "web"}, routes={"web": "c"}),
        delta=True,
    )
    after.asks(CDS, known=held[CDS])
    assert after.hears() == Heard(CDS, ("c",)), "a stays: the route at the client may still lead to it"
    after.asks(EDS, "a", "b", known=held[EDS])
    assert after.hears() == Heard(EDS, ("c",)), "endpoints of the new cluster; a keeps those that it has"
    after.asks(LDS, known=held[LDS])
    assert after.hears() == Heard(LDS, ()), "an empty response tells the client where it stands"
    after.asks(EDS, "c")
    assert after.hears() == Heard(EDS, ("c",))
    after.asks(RDS, "web", known=held[RDS])
    assert after.hears() == Heard(RDS, ("web",))
    for kind in (CDS, EDS, LDS):
        after.acks(kind)
    assert after.hears() is None
    after.acks(RDS)
    assert after.hears() == Heard(CDS, (), ("a",))


def test_reconnecting_while_a_cluster_changed_brings_its_unchanged_endpoints() -> None:
    before = Talk(WORLD, delta=True).connected()
    held = {kind: versions(before, kind) for kind in (CDS, EDS)}
    after = Talk(WORLD.but(clusters={"a": "2", "b": "1"}), delta=True)
    after.asks(CDS, known=held[CDS])
    assert after.hears() == Heard(CDS, ("a",))
    after.asks(EDS, "a", "b", known=held[EDS])
    assert after.hears() == Heard(EDS, ("a",)), "the cluster is warming and would wait 15 s for them"


def test_an_unsubscribed_name_is_sent_no_more_and_again_when_it_returns() -> None:
    talk = Talk(WORLD, delta=True).connected()
    talk.drops(EDS, "b")
    assert talk.hears() is None
    talk.world(WORLD.but(endpoints={"a": "10.0.0.1", "b": "10.9.9.9"}))
    assert talk.hears() is None
    talk.asks(EDS, "b")
    assert talk.hears() == Heard(EDS, ("b",))


def test_a_removed_listener_goes_with_the_listener_push() -> None:
    talk = Talk(WORLD, delta=True).connected()
    talk.world(WORLD.but(listeners={"https": "web"}))
    assert talk.hears() == Heard(LDS, ("https",), ("http",))


def test_a_name_that_does_not_exist_is_called_removed() -> None:
    talk = Talk(WORLD, delta=True).connected()
    other = Talk(WORLD, delta=True)
    other.asks(CDS, "b")
    other.hears()
    other.asks(CDS, "zzz")
    assert other.hears() == Heard(CDS, (), ("zzz",))
    assert talk.hears() is None


def test_a_cluster_that_returns_before_its_removal_was_never_gone() -> None:
    talk = Talk(WORLD, delta=True).connected()
    talk.world(WORLD.but(clusters={"b": "1"}, routes={"web": "b"}))
    assert talk.hears() == Heard(RDS, ("web",))
    talk.world(WORLD)
    assert talk.hears() == Heard(CDS, ("a",))
    assert talk.hears() == Heard(EDS, ("a",))
    talk.acks(RDS)
    talk.pass_time(1)
    heard = talk.hears()
    assert heard == Heard(RDS, ("web",))
    talk.acks(RDS)
    talk.pass_time(1)
    assert talk.hears() is None, "nothing is removed"


def test_reconnecting_brings_endpoints_of_new_clusters_before_the_routes_that_lead_there() -> None:
    """A real Envoy asks for all types at once when it reconnects; the route must not be faster than the endpoints."""
    before = Talk(WORLD, delta=True).connected()
    held = {kind: versions(before, kind) for kind in (CDS, EDS, RDS)}
    after = Talk(World({"c": "1"}, {"c": "10.0.0.3"}, WORLD.listeners, {"web": "c"}), delta=True)
    after.asks(CDS, known=held[CDS])
    assert after.hears() == Heard(CDS, ("c",))
    after.asks(EDS, "a", "b", known=held[EDS])
    after.asks(RDS, "web", known=held[RDS])
    assert after.hears() == Heard(EDS, ("c",))
    assert after.hears() == Heard(RDS, ("web",))


# -- state-of-the-world only --------------------------------------------------------------------------------------------------------


def test_endpoints_and_routes_of_which_nothing_is_named_are_not_watched() -> None:
    talk = Talk(WORLD, delta=False).connected()
    talk.acks(EDS, ())
    assert talk.hears() is None
    talk.world(WORLD.but(endpoints={"a": "10.9.9.9", "b": "10.9.9.9"}))
    assert talk.hears() is None


def test_a_repeated_request_without_a_nonce_is_answered_in_full() -> None:
    talk = Talk(WORLD, delta=False).connected()
    talk.asks(CDS)
    assert talk.hears() == Heard(CDS, ("a", "b"))
    talk.asks(EDS, "a", "b")
    heard = talk.hears()
    assert heard == Heard(EDS, ("a", "b"))
