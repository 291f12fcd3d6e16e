# SPDX-License-Identifier: Apache-2.0
"""The three forms of a patch on plain values."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.config.kinds.core import SERVICE
from common.config.kinds.networking import VIRTUAL_SERVICE
from galley.api.patches import PatchError, apply_patch
from galley.api.patches.json_patch import json_patch
from galley.api.patches.merge import merge_patch
from galley.api.patches.strategic import strategic_merge_patch

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text("ab/~", max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab/~", max_size=2), inner, max_size=3),
    max_leaves=8,
)


def pointer(*tokens: str) -> str:
    return "".join("/" + token.replace("~", "~0").replace("/", "~1") for token in tokens)


@pytest.mark.parametrize(
    ("document", "operation", "expected"),
    [  # most of RFC 6902's appendix A
        ({"foo": "bar"}, {"op": "add", "path": "/baz", "value": "qux"}, {"baz": "qux", "foo": "bar"}),
        ({"foo": ["bar", "baz"]}, {"op": "add", "path": "/foo/1", "value": "qux"}, {"foo": ["bar", "qux", "baz"]}),
        ({"foo": ["bar"]}, {"op": "add", "path": "/foo/-", "value": ["abc"]}, {"foo": ["bar", ["abc"]]}),
        ({"baz": "qux", "foo": "bar"}, {"op": "remove", "path": "/baz"}, {"foo": "bar"}),
        ({"foo": ["bar", "qux", "baz"]}, {"op": "remove", "path": "/foo/1"}, {"foo": ["bar", "baz"]}),
        ({"baz": "qux"}, {"op": "replace", "path": "/baz", "value": "boo"}, {"baz": "boo"}),
        ({"a": {"b": 1}, "c": {}}, {"op": "move", "from": "/a/b", "path": "/c/d"}, {"a": {}, "c": {"d": 1}}),
        ({"a": ["all", "grass", "cows", "eat"]}, {"op": "move", "from": "/a/1", "path": "/a/3"}, {"a": ["all", "cows", "eat", "grass"]}),
        ({"a": [1]}, {"op": "copy", "from": "/a", "path": "/b"}, {"a": [1], "b": [1]}),
        ({"baz": "qux"}, {"op": "test", "path": "/baz", "value": "qux"}, {"baz": "qux"}),
        ({"/": 9, "~1": 10}, {"op": "test", "path": "/~01", "value": 10}, {"/": 9, "~1": 10}),
        ({"a": 1}, {"op": "replace", "path": "", "value": {"b": 2}}, {"b": 2}),
        ({"a": 1}, {"op": "add", "path": "/b", "value": None}, {"a": 1, "b": None}),
    ],
)
def test_json_patch(document: Any, operation: dict[str, Any], expected: Any) -> None:
    before = copy.deepcopy(document)
    assert json_patch(document, [operation]) == expected
    assert document == before, "the target stays as it was"


@pytest.mark.parametrize(
    ("operation", "words"),
    [
        ({"op": "test", "path": "/n", "value": True}, "there is 1, not True"),
        ({"op": "test", "path": "/n", "value": "1"}, "failed"),
        ({"op": "add", "path": "/x/y", "value": 1}, "'/x' does not exist"),
        ({"op": "add", "path": "/list/4", "value": 1}, "does not exist"),
        ({"op": "add", "path": "/list/01", "value": 1}, "does not exist"),
        ({"op": "add", "path": "/n/1", "value": 1}, "neither an object nor a list"),
        ({"op": "add", "path": "/n"}, "needs a value"),
        ({"op": "remove", "path": "/list/-"}, "does not exist"),
        ({"op": "remove", "path": "n"}, "JSON pointer"),
        ({"op": "replace", "path": "/none", "value": 1}, "'/none' does not exist"),
        ({"op": "move", "from": "/o", "path": "/o/p"}, "into itself"),
        ({"op": "copy", "path": "/o"}, "from must be a JSON pointer"),
        ({"op": "patch", "path": "/o"}, "unknown op 'patch'; expected one of add, remove"),
        ("add", "not an object"),
    ],
)
def test_what_a_json_patch_cannot_do(operation: Any, words: str) -> None:
    with pytest.raises(PatchError, match=r"operation 1: ") as refused:
        json_patch({"n": 1, "list": [1], "o": {}}, [{"op": "test", "path": "/n", "value": 1}, operation])
    assert words in str(refused.value)


@given(JSON, st.text("ab/~", max_size=2), JSON)
def test_a_value_that_was_added_is_there_and_can_be_removed(value: Any, name: str, other: Any) -> None:
    document = {"root": {f"{name}x": other}}
    path = pointer("root", name)
    added = json_patch(document, [{"op": "add", "path": path, "value": value}, {"op": "test", "path": path, "value": value}])
    assert added["root"][name] == value
    assert json_patch(added, [{"op": "remove", "path": path}]) == document


@given(JSON, JSON)
def test_a_merge_patch_has_the_last_word_and_is_idempotent(target: Any, patch: Any) -> None:
    before = copy.deepcopy(target)
    once = merge_patch(target, patch)
    assert merge_patch(once, patch) == once
    assert target == before
    if isinstance(patch, dict):
        assert all((name not in once) if value is None else name in once for name, value in patch.items())


def service(*ports: dict[str, Any], **spec: Any) -> dict[str, Any]:
    return {"spec": {"ports": list(ports), **spec}}


HTTP, ADMIN = {"port": 80, "name": "http"}, {"port": 81, "name": "admin", "targetPort": 9}


@pytest.mark.parametrize(
    ("patch", "expected"),
    [
        (service({"port": 81, "name": "tcp"}), service(HTTP, {"port": 81, "name": "tcp", "targetPort": 9})),
        (service({"port": 82}), service(HTTP, ADMIN, {"port": 82})),
        (service({"port": 80, "$patch": "delete"}), service(ADMIN)),
        (service({"$patch": "replace"}, {"port": 82}), service({"port": 82})),
        (service({"port": 81, "targetPort": None}), service(HTTP, {"port": 81, "name": "admin"})),
        ({"spec": {"$setElementOrder/ports": [{"port": 81}, {"port": 80}]}}, service(ADMIN, HTTP)),
        ({"spec": {"$patch": "replace", "type": "NodePort"}}, {"spec": {"type": "NodePort"}}),
        ({"spec": {"$patch": "delete"}}, {"spec": {}}),
        ({"spec": {"$retainKeys": ["type"], "type": "NodePort"}}, {"spec": {"type": "NodePort"}}),
        ({"spec": {"ports": None}}, {"spec": {}}),
    ],
)
def test_a_strategic_merge_finds_ports_by_their_number(patch: dict[str, Any], expected: Any) -> None:
    target = service(HTTP, ADMIN)
    assert strategic_merge_patch(SERVICE, target, patch) == expected
    assert target == service(HTTP, ADMIN)


def test_lists_of_istio_are_replaced_because_their_order_means_something() -> None:
    target = {"spec": {"http": [{"name": "a"}, {"name": "b"}]}, "metadata": {"finalizers": ["x", "y"]}}
    patch = {"spec": {"http": [{"name": "b"}]}, "metadata": {"$deleteFromPrimitiveList/finalizers": ["x"], "finalizers": ["z"]}}
    assert strategic_merge_patch(VIRTUAL_SERVICE, target, patch) == {
        "spec": {"http": [{"name": "b"}]},
        "metadata": {"finalizers": ["y", "z"]},
    }


@pytest.mark.parametrize(
    ("patch", "words"),
    [
        ([], "is an object"),
        ({"spec": {"$patch": "merged"}}, "spec: $patch is 'merged'"),
        ({"spec": {"$unknown": 1}}, "unknown order '$unknown'"),
        ({"spec": {"ports": ["http"]}}, "spec.ports: 'http' is not an object"),
        ({"spec": {"ports": [{"name": "http"}]}}, "spec.ports: an element has no port"),
        ({"spec": {"$setElementOrder/ports": 1}}, "expected a list"),
        ({"spec": {"$retainKeys": "type"}}, "must be a list"),
    ],
)
def test_what_a_strategic_merge_cannot_do(patch: Any, words: str) -> None:
    with pytest.raises(PatchError) as refused:
        strategic_merge_patch(SERVICE, service(HTTP), patch)
    assert words in str(refused.value)


@pytest.mark.parametrize("media_type", ["application/merge-patch+json", "application/strategic-merge-patch+json"])
def test_a_patch_that_is_nested_without_end_is_refused(media_type: str) -> None:
    patch: dict[str, Any] = {}
    for _ in range(500):
        patch = {"a": patch}
    with pytest.raises(PatchError, match="deeper"):
        apply_patch(media_type, SERVICE, {}, patch)
    with pytest.raises(PatchError, match="no object"):
        apply_patch("application/json-patch+json", SERVICE, {}, [{"op": "replace", "path": "", "value": 1}])
