# SPDX-License-Identifier: Apache-2.0
"""Conversations between the two state machines: no I/O, no clock."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.config.resource import encode
from common.mcp.change import Change
from common.mcp.sink import Delivery, Sink
from common.mcp.snapshot import CollectionState, Entry, Snapshot
from common.mcp.source import Source
from common.proto.mcp import v1alpha1_pb2 as mcp
from tests.unit.common.mcp.worlds import GATEWAYS, VIRTUAL_SERVICES, entry, state


class Conversation:
    """A source and a sink that talk until both are silent; `held` is what a consumer made of the changes."""

    def __init__(self, *collections: str, source_incremental: bool = True, sink_incremental: bool = True) -> None:
        self.sink = Sink("pilot", collections or (VIRTUAL_SERVICES,), incremental=sink_incremental)
        self._source_incremental = source_incremental
        self.held: dict[str, dict[str, bytes]] = {}
        self.changes: list[Change] = []
        self.refuse: str | None = None
        self.connect()

    def connect(self) -> None:
        self.source = Source(incremental=self._source_incremental)
        for request in self.sink.connect():
            self.source.receive(over_the_wire(request))

    def publish(self, *states: CollectionState) -> list[Change]:
        """The changes that this snapshot caused."""
        self.source.publish({s.version.rpartition("/")[0]: s for s in states})
        return self.talk()

    def talk(self) -> list[Change]:
        began = len(self.changes)
        while (response := self.source.next()) is not None:
            read = self.sink.receive(mcp.Resources.FromString(response.SerializeToString()))
            assert isinstance(read, Delivery)
            if self.refuse is not None:
                self.source.receive(self.sink.reject(read, self.refuse))
                continue
            self._apply(read.change)
            self.source.receive(over_the_wire(self.sink.accept(read)))
        return self.changes[began:]

    def _apply(self, change: Change) -> None:
        self.changes.append(change)
        held = {} if change.full else self.held.setdefault(change.collection, {})
        for name in change.removed:
            assert change.full or name in held, "only what was held can be removed"
            held.pop(name, None)
        held.update({resource.key.mcp_name: encode(resource) for resource in change.upserts})
        self.held[change.collection] = held


def over_the_wire(request: mcp.RequestResources) -> mcp.RequestResources:
    return mcp.RequestResources.FromString(request.SerializeToString())


def test_nothing_is_answered_before_the_first_snapshot() -> None:
    assert Conversation().source.next() is None


def test_the_first_answer_is_the_whole_collection_even_when_it_is_empty() -> None:
    talk = Conversation(VIRTUAL_SERVICES, GATEWAYS)
    assert talk.sink.missing == {VIRTUAL_SERVICES, GATEWAYS}

    changes = talk.publish(state(7, entry("a", 7), traceparent="00-1-2-01"))

    assert [(c.collection, c.version, c.full, len(c.upserts), c.traceparent) for c in changes] == [
        (VIRTUAL_SERVICES, f"{VIRTUAL_SERVICES}/7", True, 1, "00-1-2-01"),
        (GATEWAYS, f"{GATEWAYS}/0", True, 0, ""),
    ]
    assert talk.sink.missing == set()
    assert talk.sink.versions[VIRTUAL_SERVICES] == f"{VIRTUAL_SERVICES}/7"


def test_later_answers_carry_only_the_difference() -> None:
    talk = Conversation()
    talk.publish(state(2, entry("a", 1), entry("b", 2)))

    (change,) = talk.publish(state(4, entry("a", 1), entry("c", 4)))

    assert (change.full, [r.name for r in change.upserts], change.removed) == (False, ["c"], ("default/b",))
    assert talk.held[VIRTUAL_SERVICES].keys() == {"default/a", "default/c"}


def test_an_unchanged_version_is_not_sent_again() -> None:
    talk = Conversation()
    talk.publish(state(1, entry("a", 1)))
    assert talk.publish(state(1, entry("a", 1))) == []


def test_an_empty_push_deletes() -> None:
    talk = Conversation()
    talk.publish(state(1, entry("a", 1)))
    talk.publish(state(2))
    assert talk.held[VIRTUAL_SERVICES] == {}


@pytest.mark.parametrize(("source_incremental", "sink_incremental"), [(False, True), (True, False), (False, False)])
def test_whole_collections_are_sent_unless_both_sides_know_differences(source_incremental: bool, sink_incremental: bool) -> None:
    talk = Conversation(source_incremental=source_incremental, sink_incremental=sink_incremental)
    talk.publish(state(2, entry("a", 1), entry("b", 2)))

    (change,) = talk.publish(state(3, entry("a", 1)))

    assert (change.full, [r.name for r in change.upserts], change.removed) == (True, ["a"], ("default/b",))


def test_a_reconnect_costs_a_difference() -> None:
    talk = Conversation()
    talk.publish(state(2, entry("a", 1), entry("b", 2)))
    talk.connect()

    (change,) = talk.publish(state(3, entry("a", 1), entry("b", 3)))

    assert (change.full, [r.name for r in change.upserts]) == (False, ["b"])


def test_a_reconnect_to_the_same_state_confirms_it() -> None:
    talk = Conversation()
    talk.publish(state(1, entry("a", 1)))
    talk.connect()

    (change,) = talk.publish(state(1, entry("a", 1)))

    assert (change.full, change.upserts, change.removed) == (False, (), ())


def test_while_an_answer_is_owed_only_the_newest_state_waits() -> None:
    source = Source()
    source.receive(mcp.RequestResources(collection=VIRTUAL_SERVICES, incremental=True))
    source.publish({VIRTUAL_SERVICES: state(1, entry("a", 1))})
    first = source.next()
    assert first is not None
    for revision in range(2, 50):
        source.publish({VIRTUAL_SERVICES: state(revision, entry("a", revision))})
        assert source.next() is None

    source.receive(mcp.RequestResources(collection=VIRTUAL_SERVICES, response_nonce=first.nonce))

    second = source.next()
    assert second is not None
    assert (second.system_version_info, second.nonce) == (f"{VIRTUAL_SERVICES}/49", "2")


def test_a_refused_version_is_not_repeated_until_something_changes() -> None:
    talk = Conversation()
    talk.publish(state(1, entry("a", 1)))
    talk.refuse = "no"
    assert talk.publish(state(2, entry("a", 2))) == []
    assert talk.source.next() is None
    talk.refuse = None

    (change,) = talk.publish(state(3, entry("a", 2), entry("b", 3)))

    assert [r.name for r in change.upserts] == ["a", "b"], "the difference is counted from what was accepted"
    assert [(e.acked, e.message) for e in talk.sink.journal] == [(True, ""), (False, "no"), (True, "")]


def test_the_source_learns_why_it_was_refused() -> None:
    source, sink = Source(), Sink("pilot", [VIRTUAL_SERVICES])
    for request in sink.connect():
        assert source.receive(request).first
    source.publish({VIRTUAL_SERVICES: state(1, entry("a", 1))})
    response = source.next()
    assert response is not None
    read = sink.receive(response)
    assert isinstance(read, Delivery)

    answer = source.receive(sink.reject(read, "a is not what I hoped"))

    assert (answer.error, answer.code) == ("a is not what I hoped", 3)


def test_a_stale_nonce_changes_nothing() -> None:
    source = Source()
    source.receive(mcp.RequestResources(collection=VIRTUAL_SERVICES, incremental=True))
    source.publish({VIRTUAL_SERVICES: state(1, entry("a", 1))})
    source.next()

    assert source.receive(mcp.RequestResources(collection=VIRTUAL_SERVICES, response_nonce="99")).stale
    source.publish({VIRTUAL_SERVICES: state(2, entry("a", 2))})
    assert source.next() is None


def test_a_collection_that_the_source_does_not_know_is_empty() -> None:
    talk = Conversation("istio/future/v9/things")
    (change,) = talk.publish(state(1, entry("a", 1)))
    assert (change.collection, change.upserts, change.full) == ("istio/future/v9/things", (), True)


def test_a_collection_that_was_not_asked_for_is_refused_and_the_stream_goes_on() -> None:
    sink = Sink("pilot", [VIRTUAL_SERVICES])
    answer = sink.receive(mcp.Resources(collection=GATEWAYS, nonce="1"))
    assert isinstance(answer, mcp.RequestResources)
    assert (answer.error_detail.code, answer.response_nonce) == (12, "1")


BAD = {
    "not JSON": Entry("default/bad", "1", b"{"),
    "an unknown kind": Entry("default/bad", "1", b'{"apiVersion":"v9","kind":"Nothing","metadata":{"name":"bad"}}'),
    "another name": Entry("default/bad", "1", entry("good", 1).body),
    "another collection": Entry(
        "default/bad",
        "1",
        b'{"apiVersion":"networking.istio.io/v1alpha3","kind":"Gateway","metadata":{"name":"bad","namespace":"default"}}',
    ),
}


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD.keys())
def test_one_bad_object_is_skipped_by_name_and_the_rest_is_taken(bad: Entry) -> None:
    talk = Conversation()
    (change,) = talk.publish(state(2, entry("a", 2), bad))
    assert [r.name for r in change.upserts] == ["a"]
    assert [s.mcp_name for s in change.skipped] == ["default/bad"]
    assert change.skipped[0].reason
    assert talk.sink.journal[-1].acked


@pytest.mark.parametrize("incremental", [True, False])
def test_an_object_that_becomes_unreadable_keeps_its_last_good_form(incremental: bool) -> None:
    talk = Conversation(source_incremental=incremental)
    talk.publish(state(1, entry("a", 1), entry("bad", 1)))

    (change,) = talk.publish(state(2, entry("a", 2), Entry("default/bad", "2", b"{")))

    assert change.skipped
    assert talk.held[VIRTUAL_SERVICES] == {"default/a": entry("a", 2).body, "default/bad": entry("bad", 1).body}
    talk.publish(state(3, entry("a", 2)))
    assert talk.held[VIRTUAL_SERVICES].keys() == {"default/a"}, "and it can still be deleted"


def test_a_leading_slash_in_names_is_accepted() -> None:
    sink = Sink("pilot", [VIRTUAL_SERVICES])
    response = mcp.Resources(collection=VIRTUAL_SERVICES, nonce="1")
    response.resources.add().CopyFrom(entry("a", 1).message)
    response.resources[0].metadata.name = "/default/a"
    read = sink.receive(response)
    assert isinstance(read, Delivery)
    assert not read.change.skipped


steps: Any = st.lists(
    st.tuples(st.dictionaries(st.sampled_from("abcde"), st.integers(0, 3)), st.sampled_from(["take", "refuse", "reconnect"])), max_size=12
)


@settings(max_examples=150, deadline=None)
@given(steps, st.booleans())
def test_whatever_happens_the_consumer_ends_with_what_the_source_has(history: Any, incremental: bool) -> None:
    talk = Conversation(source_incremental=incremental)
    snapshot: Snapshot = {}
    for revision, (world, event) in enumerate([*history, ({"a": 1, "z": 2}, "take")], 1):
        entries = [Entry(f"default/{n}", f"{n}{v}", entry(n, 1, host=f"h{v}").body) for n, v in world.items()]
        if event == "reconnect":
            talk.connect()
        talk.refuse = "no" if event == "refuse" else None
        current = state(revision, *entries)
        talk.publish(current)
        snapshot = {VIRTUAL_SERVICES: current}
    assert talk.held[VIRTUAL_SERVICES] == {e.name: e.body for e in snapshot[VIRTUAL_SERVICES].entries.values()}
