# SPDX-License-Identifier: Apache-2.0
"""Requests as Envoy writes them, and as nobody should."""

from __future__ import annotations

from typing import Any

import pytest
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest, DiscoveryRequest

from common.mesh.names import TYPE_ENDPOINT, TYPE_ROUTE
from pilot.xds.names import EMPTY, NameSets
from pilot.xds.requests import DeltaReader, MalformedRequest, SotwReader

NAMES = [f"outbound|80||service-{number}.default.svc.cluster.local" for number in range(200)]


def sotw(names: list[str], *, version: str = "", nonce: str = "", type_url: str = TYPE_ENDPOINT) -> bytes:
    request = DiscoveryRequest(version_info=version, resource_names=names, type_url=type_url, response_nonce=nonce)
    if not nonce:
        request.node.id = "sidecar~127.0.0.1~a.b~b.svc.cluster.local"
    return request.SerializeToString()


def test_repeated_names_are_the_same_object_and_are_not_parsed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    reader = SotwReader(NameSets())
    first = reader.read(sotw(NAMES))
    assert first.names == frozenset(NAMES) and first.node is not None
    parsed: list[int] = []
    from pilot.xds import requests

    genuine = requests._parse

    def counting(kind: Any, raw: bytes) -> Any:
        parsed.append(len(raw))
        return genuine(kind, raw)

    monkeypatch.setattr(requests, "_parse", counting)
    second = reader.read(sotw(NAMES, version="17", nonce="3.4"))
    assert second.names is first.names and second.nonce == "3.4" and second.type_url == TYPE_ENDPOINT
    assert parsed[0] < 200, "only what is not names"


def test_one_name_more_is_noticed() -> None:
    reader = SotwReader(NameSets())
    reader.read(sotw(NAMES))
    assert reader.read(sotw([*NAMES, "x"], nonce="1")).names == frozenset([*NAMES, "x"])
    assert reader.read(sotw(NAMES[:-1], nonce="1")).names == frozenset(NAMES[:-1])


def test_names_of_another_type_are_not_mistaken() -> None:
    reader = SotwReader(NameSets())
    reader.read(sotw(NAMES))
    request = reader.read(sotw(NAMES, type_url=TYPE_ROUTE, nonce="2"))
    assert request.type_url == TYPE_ROUTE and request.names == frozenset(NAMES)


def test_a_refusal_carries_its_message() -> None:
    request = DiscoveryRequest(type_url=TYPE_ROUTE, response_nonce="1")
    request.error_detail.message = "duplicate domain"
    assert SotwReader(NameSets()).read(request.SerializeToString()).error == "duplicate domain"
    request.error_detail.message = ""
    request.error_detail.code = 3
    assert SotwReader(NameSets()).read(request.SerializeToString()).error == "no reason given"


def test_delta_fields() -> None:
    message = DeltaDiscoveryRequest(
        type_url=TYPE_ENDPOINT,
        resource_names_subscribe=["a", "b"],
        resource_names_unsubscribe=["c"],
        initial_resource_versions={"a": "1"},
        response_nonce="9",
    )
    request = DeltaReader(NameSets()).read(message.SerializeToString())
    assert (request.subscribe, request.unsubscribe, dict(request.known), request.nonce, request.error, request.names) == (
        frozenset("ab"),
        frozenset("c"),
        {"a": "1"},
        "9",
        None,
        None,
    )


@pytest.mark.parametrize("reader", [SotwReader(NameSets()), DeltaReader(NameSets())], ids=["sotw", "delta"])
def test_rubbish_is_refused(reader: SotwReader | DeltaReader) -> None:
    for raw in (b"\xff\xff\xff", b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", b"\x12\x05ab"):
        with pytest.raises(MalformedRequest):
            reader.read(raw)
    with pytest.raises(MalformedRequest, match="more than"):
        reader.read(b"\x00" * (4 * 1024 * 1024 + 1))


def test_a_huge_node_is_refused() -> None:
    request = DiscoveryRequest(type_url=TYPE_ENDPOINT)
    request.node.id = "x" * 70_000
    with pytest.raises(MalformedRequest, match="node"):
        SotwReader(NameSets()).read(request.SerializeToString())


def test_sets_are_shared_and_bounded() -> None:
    sets = NameSets(most=2)
    assert sets.intern(["a"]) is sets.intern(["a"])
    assert sets.intern([]) is EMPTY
    for name in "bcd":
        sets.intern([name])
    assert len(sets) == 2
