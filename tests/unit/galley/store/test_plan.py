# SPDX-License-Identifier: Apache-2.0
"""What a write decides before anything is stored."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import pytest

from common.config.resource import decode
from galley.errors import AlreadyExistsError, ConflictError, NotFoundError
from galley.store.model import EMPTY, Delete, Intent, Origin, Put, Snapshot
from galley.store.plan import Plan
from tests.unit.galley.store.worlds import resource, service, virtual_service

_uids = itertools.count(1)


def plan(snapshot: Snapshot, *intents: Intent, owners: Sequence[str] = ()) -> Plan:
    made = Plan(
        snapshot, now="2026-01-01T00:00:00Z", actor="alice", traceparent="00-t", new_uid=lambda: f"uid-{next(_uids)}", owners=owners
    )
    return made.add(intents)


def world(*intents: Intent) -> Snapshot:
    return plan(EMPTY, *intents).snapshot


def actions(made: Plan) -> list[str]:
    return [outcome.action for outcome in made.outcomes]


def test_a_new_object_gets_what_only_the_store_can_give() -> None:
    made = plan(
        EMPTY, Put(resource=virtual_service(uid="mine", generation=9, resourceVersion="", creationTimestamp="1999-01-01T00:00:00Z"))
    )

    (event,) = made.events
    metadata = event.stored.resource.metadata
    assert (metadata.generation, metadata.resourceVersion, metadata.creationTimestamp) == (1, "1", "2026-01-01T00:00:00Z")
    assert metadata.uid.startswith("uid-")
    assert decode(event.stored.body).metadata == metadata, "the stored bytes say the same"
    assert (event.type, event.actor, event.stored.traceparent) == ("ADDED", "alice", "00-t")


def test_the_same_object_again_is_no_revision() -> None:
    before = world(Put(resource=virtual_service()))
    made = plan(before, Put(resource=virtual_service(), origin=Origin(file="x.yaml", line=7)))
    assert actions(made) == ["unchanged"]
    assert made.events == []
    assert made.snapshot.revision == before.revision


def test_generation_counts_changes_of_the_spec_only() -> None:
    before = world(Put(resource=virtual_service()))
    labelled = plan(before, Put(resource=virtual_service(labels={"a": "b"})))
    changed = plan(labelled.snapshot, Put(resource=virtual_service(host="other", labels={"a": "b"})))
    assert actions(labelled) == actions(changed) == ["configured"]
    assert labelled.events[0].stored.resource.metadata.generation == 1
    assert changed.events[0].stored.resource.metadata.generation == 2
    assert changed.events[0].stored.resource.metadata.uid == before.get(virtual_service().key).resource.metadata.uid  # type: ignore[union-attr]


def test_revisions_have_no_gaps_and_number_every_object() -> None:
    made = plan(EMPTY, Put(resource=virtual_service("a")), Put(resource=service("b")), Delete(key=virtual_service("a").key))
    assert [event.revision for event in made.events] == [1, 2, 3]
    assert made.snapshot.revision == 3
    assert made.snapshot.collection(virtual_service().kind.collection).revision == 3, "a deletion is a change of its collection"


@pytest.mark.parametrize(
    ("intent", "error", "text"),
    [
        (Put(resource=virtual_service(), must_exist=False), AlreadyExistsError, "exists already; replace or apply it"),
        (Put(resource=virtual_service("none"), must_exist=True), NotFoundError, "does not exist"),
        (Put(resource=virtual_service(host="x"), expected="7"), ConflictError, "is at version 1, not 7; read it again"),
        (Put(resource=virtual_service("none"), expected="7"), ConflictError, "was deleted since version 7"),
        (Delete(key=virtual_service("none").key), NotFoundError, "does not exist"),
        (Delete(key=virtual_service().key, expected="7"), ConflictError, "is at version 1, not 7"),
        (Delete(key=virtual_service().key, uid="another"), ConflictError, "another object than the one with uid another"),
    ],
)
def test_what_cannot_be_done_says_why_and_changes_nothing(intent: Intent, error: type[Exception], text: str) -> None:
    before = world(Put(resource=virtual_service()))
    with pytest.raises(error, match=text):
        plan(before, Put(resource=service("first")), intent)
    assert before.revision == 1


def test_a_missing_object_may_be_deleted_when_that_is_allowed() -> None:
    made = plan(EMPTY, Delete(key=virtual_service().key, missing_ok=True))
    assert (actions(made), made.events) == (["unchanged"], [])


def test_a_running_source_alone_changes_its_objects() -> None:
    theirs = Origin(owner="directory", file="a.yaml", line=3)
    before = world(Put(resource=virtual_service(), origin=theirs))
    for intent in (Put(resource=virtual_service(host="x")), Delete(key=virtual_service().key)):
        with pytest.raises(ConflictError, match=r"belongs to the file a\.yaml:3; change it there"):
            plan(before, intent, owners=["directory"])
        assert plan(before, intent).events, "a source that does not run any more owns nothing"
    assert plan(before, Put(resource=virtual_service(host="x"), origin=theirs), owners=["directory"]).events


class TestServiceAddresses:
    def address(self, made: Plan) -> Any:
        spec = made.outcomes[-1].stored.resource.spec  # type: ignore[union-attr]
        return getattr(spec, "clusterIP", None) if hasattr(spec, "clusterIP") else spec.addresses

    def test_a_service_gets_one_from_the_range_and_keeps_it(self) -> None:
        made = plan(EMPTY, Put(resource=service()))
        first = self.address(made)
        assert first.startswith("240.240.")
        again = plan(made.snapshot, Put(resource=service()))
        assert actions(again) == ["unchanged"], "the address that we gave is no difference"
        changed = plan(made.snapshot, Put(resource=service(labels={"a": "b"})))
        assert self.address(changed) == first

    def test_no_two_services_share_one(self) -> None:
        made = plan(EMPTY, *(Put(resource=service(f"s{n}")) for n in range(300)))
        addresses = [outcome.stored.resource.spec.clusterIP for outcome in made.outcomes if outcome.stored]
        assert len(set(addresses)) == 300
        assert not any(a.endswith((".0", ".255")) for a in addresses)

    def test_it_starts_from_the_name_so_that_a_service_made_again_gets_it_back(self) -> None:
        assert self.address(plan(EMPTY, Put(resource=service()))) == self.address(plan(EMPTY, Put(resource=service())))

    @pytest.mark.parametrize("address", ["None", "10.0.0.7"])
    def test_what_the_user_says_stays(self, address: str) -> None:
        assert self.address(plan(EMPTY, Put(resource=service(clusterIP=address)))) == address

    def test_external_names_need_none(self) -> None:
        assert self.address(plan(EMPTY, Put(resource=service(type="ExternalName", externalName="example.com")))) == ""

    @pytest.mark.parametrize(
        ("spec", "given"),
        [
            ({"hosts": ["a.example.com"], "resolution": "DNS"}, True),
            ({"hosts": ["a.example.com"], "resolution": "STATIC", "endpoints": [{"address": "10.1.1.1"}]}, True),
            ({"hosts": ["a.example.com"], "resolution": "NONE"}, False),
            ({"hosts": ["*.example.com"], "resolution": "STATIC", "endpoints": [{"address": "10.1.1.1"}]}, False),
            ({"hosts": ["a.example.com"], "resolution": "DNS", "addresses": ["10.9.9.9"]}, False),
        ],
    )
    def test_service_entries_that_name_one_machine_get_one(self, spec: dict[str, Any], given: bool) -> None:
        entry = resource("ServiceEntry", "external", {"ports": [{"number": 443, "name": "tls", "protocol": "TLS"}], **spec})
        made = plan(EMPTY, Put(resource=entry))
        addresses = self.address(made)
        assert (len(addresses) == 1 and addresses[0].startswith("240.240.")) is given
        assert actions(plan(made.snapshot, Put(resource=entry))) == ["unchanged"]
