# SPDX-License-Identifier: Apache-2.0
"""Conversations with one SDS stream, no network: `->` what Envoy says, `<-` what it hears."""

from __future__ import annotations

from typing import Any

import pytest
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest, DiscoveryRequest

from citadel.agent.secrets import Versioned, secrets_of
from citadel.agent.stream import Delta, StateOfTheWorld
from tests.running_citadel import material_of, new_authority


def made(**versions: str) -> dict[str, Versioned]:
    return {name: Versioned(version, Secret(name=name)) for name, version in versions.items()}


def names(response: Any) -> list[str]:
    if response is None:
        return []
    found = []
    for resource in response.resources:
        secret = Secret()
        assert getattr(resource, "resource", resource).Unpack(secret)
        found.append(secret.name)
    return found


def sotw(*asked: str, nonce: str = "", error: str = "") -> DiscoveryRequest:
    request = DiscoveryRequest(resource_names=asked, response_nonce=nonce)
    request.node.id = "sidecar~10.0.0.1~a.b~b.svc.cluster.local"
    if error:
        request.error_detail.message = error
    return request


def delta(*, add: tuple[str, ...] = (), drop: tuple[str, ...] = (), nonce: str = "", error: str = "", **held: str) -> DeltaDiscoveryRequest:
    request = DeltaDiscoveryRequest(
        resource_names_subscribe=add, resource_names_unsubscribe=drop, response_nonce=nonce, initial_resource_versions=held
    )
    if error:
        request.error_detail.message = error
    return request


class TestStateOfTheWorld:
    def test_the_first_request_is_answered_at_once_and_its_ack_is_not(self) -> None:
        stream = StateOfTheWorld(made(default="1", ROOTCA="r"))
        answer = stream.received(sotw("default"))
        assert answer is not None
        assert names(answer) == ["default"]
        assert answer.version_info == "1"
        assert stream.received(sotw("default", nonce=answer.nonce)) is None

    def test_no_names_no_answer(self) -> None:
        assert StateOfTheWorld(made(default="1")).received(sotw()) is None

    def test_rotation_is_pushed_once_and_unchanged_secrets_are_not(self) -> None:
        stream = StateOfTheWorld(made(default="1", ROOTCA="r"))
        first = stream.received(sotw("default"))
        assert first is not None
        stream.received(sotw("default", nonce=first.nonce))
        assert stream.changed(made(default="1", ROOTCA="r2")) is None
        second = stream.changed(made(default="2", ROOTCA="r2"))
        assert second is not None
        assert names(second) == ["default"]
        assert second.nonce != first.nonce

    def test_one_answer_is_under_way_at_a_time_and_the_newest_wins(self) -> None:
        stream = StateOfTheWorld(made(default="1"))
        first = stream.received(sotw("default"))
        assert first is not None
        assert stream.changed(made(default="2")) is None
        assert stream.changed(made(default="3")) is None
        second = stream.received(sotw("default", nonce=first.nonce))
        assert second is not None
        assert second.version_info == "3"

    def test_a_refusal_is_kept_and_not_answered_until_something_changes(self) -> None:
        stream = StateOfTheWorld(made(default="1"))
        first = stream.received(sotw("default"))
        assert first is not None
        assert stream.received(sotw("default", nonce=first.nonce, error="bad key")) is None
        assert stream.refusal is not None
        assert stream.refusal == (("default",), "bad key")
        second = stream.changed(made(default="2"))
        assert second is not None
        stream.received(sotw("default", nonce=second.nonce))
        assert stream.refusal is None

    def test_a_stale_nonce_is_ignored(self) -> None:
        stream = StateOfTheWorld(made(default="1"))
        first = stream.received(sotw("default"))
        assert first is not None
        stream.received(sotw("default", nonce=first.nonce))
        second = stream.changed(made(default="2"))
        assert second is not None
        assert stream.received(sotw("default", nonce=first.nonce, error="late")) is None
        assert stream.refusal is None
        assert stream.changed(made(default="3")) is None, "the second is still under way"

    def test_a_secret_that_does_not_exist_is_awaited(self) -> None:
        stream = StateOfTheWorld(made(default="1"))
        assert stream.received(sotw("bookinfo-credential")) is None
        assert names(stream.changed(made(default="1", **{"bookinfo-credential": "c"}))) == ["bookinfo-credential"]

    def test_another_name_gets_all_secrets_of_the_stream(self) -> None:
        stream = StateOfTheWorld(made(default="1", ROOTCA="r"))
        first = stream.received(sotw("default"))
        assert first is not None
        assert names(stream.received(sotw("default", "ROOTCA", nonce=first.nonce))) == ["ROOTCA", "default"]


class TestDelta:
    def test_the_first_subscription_is_answered_at_once_and_its_ack_is_not(self) -> None:
        stream = Delta(made(default="1", ROOTCA="r"))
        answer = stream.received(delta(add=("default",)))
        assert answer is not None
        assert [(r.name, r.version) for r in answer.resources] == [("default", "1")]
        assert stream.received(delta(nonce=answer.nonce)) is None

    def test_only_what_changed_is_pushed(self) -> None:
        stream = Delta(made(default="1", ROOTCA="r"))
        first = stream.received(delta(add=("default", "ROOTCA")))
        assert first is not None
        stream.received(delta(nonce=first.nonce))
        assert names(stream.changed(made(default="2", ROOTCA="r"))) == ["default"]

    def test_a_reconnecting_envoy_is_not_sent_what_it_holds(self) -> None:
        assert Delta(made(default="1")).received(delta(add=("default",), default="1")) is None
        assert names(Delta(made(default="2")).received(delta(add=("default",), default="1"))) == ["default"]

    def test_nothing_is_sent_after_unsubscribing(self) -> None:
        stream = Delta(made(default="1"))
        first = stream.received(delta(add=("default",)))
        assert first is not None
        stream.received(delta(nonce=first.nonce))
        stream.received(delta(drop=("default",)))
        assert stream.changed(made(default="2")) is None

    def test_a_refusal_is_kept_and_a_subscription_with_a_stale_nonce_still_counts(self) -> None:
        stream = Delta(made(default="1", ROOTCA="r"))
        first = stream.received(delta(add=("default",)))
        assert first is not None
        stream.received(delta(nonce=first.nonce, error="bad key"))
        assert stream.refusal is not None
        assert names(stream.received(delta(add=("ROOTCA",), nonce="0"))) == ["ROOTCA"]

    def test_a_secret_that_does_not_exist_is_awaited(self) -> None:
        stream = Delta(made())
        assert stream.received(delta(add=("default",))) is None
        assert names(stream.changed(made(default="1"))) == ["default"]


def test_an_identity_makes_two_secrets_whose_versions_tell_no_key() -> None:
    authority = new_authority()
    first, second = (secrets_of(material_of(authority, "default", "sleep")) for _ in range(2))
    assert set(first) == {"default", "ROOTCA"}
    assert first["default"].version != second["default"].version
    assert first["ROOTCA"].version == second["ROOTCA"].version
    assert b"PRIVATE KEY" in first["default"].secret.tls_certificate.private_key.inline_bytes
    assert b"PRIVATE KEY" not in first["ROOTCA"].secret.SerializeToString()
    assert "PRIVATE" not in repr(first)


@pytest.mark.parametrize("kind", [StateOfTheWorld, Delta])
def test_a_nonce_is_never_used_twice(kind: type[StateOfTheWorld] | type[Delta]) -> None:
    stream = kind(made(default="0"))
    request: Any = sotw("default") if kind is StateOfTheWorld else delta(add=("default",))
    answer: Any = stream.received(request)
    seen = set()
    for version in range(1, 10):
        seen.add(answer.nonce)
        ack: Any = sotw("default", nonce=answer.nonce) if kind is StateOfTheWorld else delta(nonce=answer.nonce)
        stream.received(ack)
        answer = stream.changed(made(default=str(version)))
    assert len(seen) == 9
