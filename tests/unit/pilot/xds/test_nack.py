# SPDX-License-Identifier: Apache-2.0
"""Refusals: the guilty resource is found, named and held back; everything else flows on."""

from __future__ import annotations

import pytest

from pilot.xds.frames import Framed
from pilot.xds.nack import Isolation
from pilot.xds.notices import Acked, Nacked, Refused
from pilot.xds.subscription import SyncState
from tests.unit.pilot.xds.worlds import CDS, EDS, RDS, TYPES, Heard, Talk, World

CLUSTERS = dict.fromkeys("abcdefgh", "1")
WORLD = World(clusters=CLUSTERS, endpoints=dict.fromkeys(CLUSTERS, "10.0.0.1"), listeners={"http": "web"}, routes={"web": "a"})


@pytest.fixture(params=[True, False], ids=["delta", "sotw"])
def talk(request: pytest.FixtureRequest) -> Talk:
    return Talk(WORLD, delta=request.param).connected()


def rounds(talk: Talk, guilty: str, message: str = "no", partial: bool = False) -> int:
    """Answer as a proxy that refuses `guilty` (its text) among clusters, until nothing more comes. Returns how many responses it took."""
    taken = 0
    while (heard := talk.hears()) is not None:
        taken += 1
        assert taken < 40, "a push loop"
        if heard.type == CDS and any(guilty.encode() in body for body in heard.bodies.values()):
            talk.nacks(CDS, message)
        else:
            talk.acks(heard.type, () if heard.type == CDS else WORLD.clusters if heard.type == EDS else WORLD.routes)
        talk.pass_time(0.1)
    return taken


def refused(talk: Talk) -> list[str]:
    return [notice.name for notice in talk.seen if isinstance(notice, Refused)]


def test_one_by_one_the_guilty_is_found_without_any_hint(talk: Talk) -> None:
    changed = dict.fromkeys(CLUSTERS, "2") | {"f": "poison"}
    talk.world(WORLD.but(clusters=changed))
    rounds(talk, "poison")
    assert refused(talk) == ["f"]
    subscription = talk.stream.subscriptions[TYPES[CDS]]
    assert subscription.state is SyncState.REJECTED
    assert subscription.trouble is not None and subscription.trouble.held["f"].message == "no"
    assert sum(isinstance(notice, Nacked) for notice in talk.seen) >= 2


def test_a_message_that_names_it_saves_the_search(talk: Talk) -> None:
    talk.world(WORLD.but(clusters=dict.fromkeys(CLUSTERS, "2") | {"f": "poison"}))
    responses = rounds(talk, "poison", "Error adding/updating cluster(s) f: not like this")
    assert refused(talk) == ["f"]
    assert responses <= 6, "the push, the rest, the guilty one, and endpoints"


def test_a_single_suspect_is_convicted_at_once(talk: Talk) -> None:
    talk.world(WORLD.but(routes={"web": "poison:a"}))
    assert talk.hears() == Heard(RDS, ("web",))
    talk.nacks(RDS, "bad regex", ("web",))
    assert talk.hears() is None
    (notice,) = [notice for notice in talk.seen if isinstance(notice, Refused)]
    assert (notice.name, notice.message, [source.name for source in notice.sources]) == ("web", "bad regex", ["web"])


def test_what_is_held_back_is_not_sent_with_later_pushes_and_returns_when_it_changes(talk: Talk) -> None:
    talk.world(WORLD.but(clusters={**CLUSTERS, "f": "poison"}))
    rounds(talk, "poison")
    talk.world(WORLD.but(clusters={**CLUSTERS, "f": "poison", "a": "2"}))
    heard = talk.hears()
    assert heard is not None and heard.type == CDS and b"poison" not in b"".join(heard.bodies.values())
    talk.acks(CDS)
    rounds(talk, "poison")
    talk.world(WORLD.but(clusters={**CLUSTERS, "f": "mended", "a": "2"}))
    heard = talk.hears()
    assert heard is not None and b"mended" in heard.bodies["f"]
    talk.acks(CDS)
    rounds(talk, "poison")
    assert talk.stream.subscriptions[TYPES[CDS]].state is SyncState.SYNCED
    assert refused(talk) == ["f"]


def test_clusters_are_not_removed_while_a_refused_route_may_use_them(talk: Talk) -> None:
    """The proxy keeps its old route, so it must keep the cluster that this leads to."""
    talk.world(WORLD.but(clusters=dict.fromkeys("bcdefgh", "1"), routes={"web": "poison:b"}))
    assert talk.hears() == Heard(RDS, ("web",))
    talk.nacks(RDS, "no", ("web",))
    talk.pass_time(10)
    assert talk.hears() is None
    talk.world(WORLD.but(clusters=dict.fromkeys("bcdefgh", "1"), routes={"web": "b"}))
    assert talk.hears() == Heard(RDS, ("web",))
    talk.acks(RDS, ("web",))
    heard = talk.hears()
    assert heard is not None and heard.type == CDS and "a" not in heard.names


def test_routes_wait_while_clusters_are_under_trial(talk: Talk) -> None:
    talk.world(WORLD.but(clusters={**CLUSTERS, "x": "1", "y": "poison"}, endpoints={**WORLD.endpoints, "x": "1", "y": "1"}))
    heard = talk.hears()
    assert heard is not None and heard.type == CDS
    talk.nacks(CDS, "no")
    talk.world(
        WORLD.but(clusters={**CLUSTERS, "x": "1", "y": "poison"}, endpoints={**WORLD.endpoints, "x": "1", "y": "1"}, routes={"web": "x"})
    )
    rounds(talk, "poison")
    assert refused(talk) == ["y"]
    order = [(notice.type_url, type(notice)) for notice in talk.seen if isinstance(notice, Refused | Acked)]
    assert order.index((TYPES[CDS], Refused)) < len(order) - 1 - order[::-1].index((TYPES[RDS], Acked))
    assert talk.last[RDS].names == ("web",) and b"x" in talk.last[RDS].bodies["web"]


def test_a_resource_replaced_before_its_refusal_was_known_is_a_suspect_again() -> None:
    """Found by Hypothesis: the first refusal leaves open which form of `a` the proxy has, so its return to an accepted one must be sent."""
    talk = Talk(WORLD, delta=True).connected()
    talk.world(WORLD.but(clusters={**CLUSTERS, "a": "2", "b": "poison"}))
    first = talk.hears()
    assert first is not None and first.names == ("a", "b")
    assert talk.hears() == Heard(EDS, ("a", "b"))
    talk.acks(EDS)
    talk.pass_time(0.1)
    talk.world(WORLD.but(clusters={**CLUSTERS, "a": "1", "c": "poison"}))
    second = talk.hears()
    assert second is not None and second.names == ("a", "b", "c")
    talk.last[CDS] = first
    talk.nacks(CDS, "Error adding/updating b")  # and `a` was taken in its second form
    talk.last[CDS] = second
    talk.nacks(CDS, "no")
    tried = []
    while (heard := talk.hears()) is not None:
        tried += [name for name in heard.names if heard.type == CDS]
        if heard.type == CDS and "c" in heard.names:
            talk.nacks(CDS, "no")
        else:
            talk.acks(heard.type)
        talk.pass_time(0.1)
    assert "a" in tried and refused(talk) == ["c"]


def test_a_route_that_was_forgotten_and_asked_for_again_is_not_taken_for_accepted() -> None:
    """Found by Hypothesis: in state of the world only clusters and listeners are repeated."""
    talk = Talk(WORLD, delta=False).connected()
    talk.acks(RDS, ())
    assert talk.hears() is None
    talk.world(WORLD.but(routes={"web": "a", "other": "poison:a"}))
    talk.acks(RDS, ("web", "other"))
    assert talk.hears() == Heard(RDS, ("other", "web"))
    talk.nacks(RDS, "no", ("web", "other"))
    tried = []
    while (heard := talk.hears()) is not None:
        tried.append(heard.names)
        (talk.nacks if "other" in heard.names else lambda kind, _, names: talk.acks(kind, names))(RDS, "no", ("web", "other"))
    assert tried == [("other",), ("web",)] and refused(talk) == ["other"]


def frames(*names: str) -> tuple[Framed, ...]:
    return tuple(Framed(TYPES[RDS], name, b"\x0a\x01" + name.encode(), ()) for name in names)


def nothing(name: str) -> None:
    return None


def test_halves_are_tried_until_one_is_left() -> None:
    isolation = Isolation()
    suspects = frames(*"abcdefghij")
    assert isolation.refused(suspects, "no", nothing, sole=False) == []
    tried = []
    convicted = []
    for number in range(50):
        batch = isolation.next()
        if not batch:
            break
        tried.append("".join(frame.name for frame in batch))
        isolation.sent(str(number))
        bad = any(frame.name == "g" for frame in batch)
        assert isolation.next() == (), "one batch at a time"
        assert isolation.answered(str(number), accepted=not bad)
        if bad:
            convicted += isolation.refused(batch, "no", nothing, sole=len(batch) == 1)
    assert [refusal.frame.name for refusal in convicted] == ["g"]
    assert tried[:2] == ["abcde", "fghij"] and not isolation.is_trying
    assert isolation.excluded("g") and not isolation.excluded("a")


def test_an_answer_to_something_else_moves_nothing() -> None:
    isolation = Isolation()
    isolation.refused(frames("a", "b"), "no", nothing, sole=False)
    isolation.next()
    isolation.sent("7")
    assert not isolation.answered("6", accepted=True)
    assert isolation.excluded("a") and isolation.excluded("b")


def test_names_in_messages_are_words_not_letters() -> None:
    isolation = Isolation()
    isolation.refused(frames("a", "dd", "e", "f", "g", "h"), "Error adding/updating dd, 'e': cannot", nothing, sole=False)
    assert [frame.name for frame in isolation.next()] == ["a", "f", "g", "h"]
