# SPDX-License-Identifier: Apache-2.0
"""The kinds themselves: names, and declarations that must speak of fields that exist."""

from __future__ import annotations

import msgspec
import pytest

from common.config import Kind, KindRegistry, ResourceKey, decode, encode, registry
from common.config.kinds.message import Message
from common.config.registry import UnknownKindError
from common.config.resource import DecodeError


def messages(of: type[Message] = Message) -> list[type[Message]]:
    return [each for sub in of.__subclasses__() for each in (sub, *messages(sub))]


@pytest.mark.parametrize("message", messages(), ids=lambda each: each.__name__)
def test_oneofs_name_optional_fields(message: type[Message]) -> None:
    optional = {field.encode_name for field in msgspec.structs.fields(message) if field.default is None or field.default == ()}
    assert {name for group in message.ONEOFS for name in group} <= optional
    assert set(message.NULL_IS_EMPTY) <= optional


def test_the_kinds_of_istio_have_its_collections() -> None:
    collections = {kind.name: kind.collection for kind in registry}
    assert collections["VirtualService"] == "istio/networking/v1alpha3/virtualservices"
    assert collections["rule"] == "istio/policy/v1beta1/rules"
    assert collections["QuotaSpec"] == "istio/mixer/v1/config/client/quotaspecs"
    assert collections["Service"] == "k8s/core/v1/services"


@pytest.mark.parametrize("word", ["vs", "VirtualService", "virtualservices", "VIRTUALSERVICE"])
def test_users_may_name_a_kind_in_several_ways(word: str) -> None:
    assert registry.by_word(word) is registry.find("networking.istio.io/v1alpha3", "VirtualService")


def test_no_word_means_two_kinds() -> None:
    """Versions of one kind share their words; the first that was registered is meant."""
    words = [word for kind in registry if registry.by_word(kind.plural) is kind for word in {kind.singular, kind.plural, *kind.short_names}]
    assert len(words) == len(set(words))
    shared = {kind.name for kind in registry if registry.by_word(kind.plural) is not kind}
    assert shared == {"Ingress"}


def test_a_kind_is_registered_once() -> None:
    mine = KindRegistry()
    kind = mine.add(Kind(group="g", version="v1", name="Thing", plural="things", collection="c", spec=Message))
    with pytest.raises(ValueError, match="twice"):
        mine.add(kind)
    with pytest.raises(UnknownKindError, match="use apiVersion g/v1"):
        mine.find("g/v2", "Thing")


def test_endpoints_stand_at_the_top_level_as_in_kubernetes() -> None:
    text = (
        b'{"apiVersion":"v1","kind":"Endpoints","metadata":{"name":"x"},"subsets":[{"addresses":[{"ip":"1.2.3.4"}],"ports":[{"port":80}]}]}'
    )
    assert decode(text).spec.subsets[0].addresses[0].ip == "1.2.3.4"
    assert encode(decode(text)) == text


def test_decoding_ignores_what_newer_parts_may_have_added() -> None:
    resource = decode(b'{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"x","new":1},"spec":{"new":1},"status":{}}')
    assert encode(resource) == b'{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"x"},"spec":{}}'


@pytest.mark.parametrize("text", [b"", b"[]", b"{", b'{"apiVersion":"v1","kind":"Service","metadata":{"name":1}}'])
def test_what_is_no_resource_is_refused(text: bytes) -> None:
    with pytest.raises(DecodeError):
        decode(text)


def test_keys_read_as_people_write_them() -> None:
    assert str(ResourceKey("istio/networking/v1alpha3/gateways", "default", "edge")) == "Gateway default/edge"
    assert str(ResourceKey("istio/authentication/v1alpha1/meshpolicies", "", "default")) == "MeshPolicy default"
