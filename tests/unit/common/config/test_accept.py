# SPDX-License-Identifier: Apache-2.0
"""The fast verdict and the explaining one are the same verdict; what is accepted can be decoded; messages help."""

from __future__ import annotations

import copy
import json
import random
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from common.config import Kind, registry
from common.config.accept import accepts, explain, kind_of, structure
from common.config.normalise import normalise
from common.config.problem import Problem
from common.config.resource import decode, encode, from_document
from common.config.schema import resolve, schema_for

VIRTUAL_SERVICE = registry.find("networking.istio.io/v1alpha3", "VirtualService")
KINDS = sorted(registry, key=lambda kind: kind.collection)
POLICY = registry.find("authentication.istio.io/v1alpha1", "Policy")


def document(spec: dict[str, Any], kind: Kind = VIRTUAL_SERVICE) -> dict[str, Any]:
    return {"apiVersion": kind.api_version, "kind": kind.name, "metadata": {"name": "x"}, "spec": spec}


def messages(spec: dict[str, Any], kind: Kind = VIRTUAL_SERVICE) -> list[str]:
    return [str(found) for found in structure(kind, document(spec, kind))[1]]


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**40), 2**40),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(["", "7s", "x", "STRICT"]),
)


def values_for(schema: dict[str, Any], root: dict[str, Any], depth: int) -> st.SearchStrategy[Any]:
    """Values that are mostly of the schema's shape, and now and then not."""
    schema = resolve(schema, root)
    right: st.SearchStrategy[Any]
    if depth == 0:
        right = st.just({} if schema.get("type") == "object" else [] if schema.get("type") == "array" else "x")
    elif "properties" in schema:
        names = sorted(schema["properties"])
        chosen = st.lists(st.sampled_from([*names, "surprise"]), max_size=3, unique=True).map(
            lambda some: sorted({*some, *schema.get("required", ())})
        )
        right = chosen.flatmap(
            lambda some: st.fixed_dictionaries({name: values_for(schema["properties"].get(name, {}), root, depth - 1) for name in some})
        )
    elif schema.get("type") == "object":
        right = st.dictionaries(
            st.sampled_from(["a", "app.io/b"]), values_for(schema.get("additionalProperties", {}), root, depth - 1), max_size=2
        )
    elif schema.get("type") == "array":
        right = st.lists(values_for(schema.get("items", {}), root, depth - 1), max_size=2)
    elif "enum" in schema:
        right = st.sampled_from(schema["enum"])
    elif "const" in schema:
        right = st.just(schema["const"])
    else:
        right = {"integer": st.integers(0, 70000), "number": st.floats(0, 100), "boolean": st.booleans()}.get(
            str(schema.get("type")), st.just("x")
        )
    return st.integers(0, 11).flatmap(lambda dice: SCALARS if dice == 0 else right)


@st.composite
def documents(draw: st.DrawFn) -> tuple[Kind, Any]:
    kind = draw(st.sampled_from(KINDS))
    schema = schema_for(kind)
    return kind, draw(values_for(schema, schema, 6))


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(documents())
def test_both_validators_give_the_same_verdict_and_accepted_documents_decode(case: tuple[Kind, Any]) -> None:
    kind, value = case
    problems = explain(kind, value)
    assert accepts(kind, value) is (not problems)
    if isinstance(value, dict):
        normal = normalise(kind, value)
        if accepts(kind, normal):
            resource = from_document(normal)
            assert encode(decode(encode(resource))) == encode(resource)


@pytest.mark.parametrize("kind", KINDS, ids=[kind.name for kind in KINDS])
def test_every_kind_has_a_valid_closed_schema(kind: Kind) -> None:
    schema = schema_for(kind)
    jsonschema.Draft202012Validator.check_schema(schema)
    assert json.loads(json.dumps(schema)) == schema
    found = explain(kind, {"apiVersion": kind.api_version, "kind": kind.name, "metadata": {"name": "x"}, "surprise": 1})
    assert "surprise" in [each.path for each in found]


def test_a_misspelt_field_names_the_one_that_was_meant() -> None:
    spec = {"http": [{"match": [{"uri": {"prefx": "/a"}}]}]}
    assert messages(spec) == ["spec.http[0].match[0].uri.prefx: unknown field 'prefx'; did you mean 'prefix'?"]


def test_an_unknown_field_without_a_near_name_lists_what_is_known() -> None:
    assert messages({"http": [{"rewrite": {"zzz": 1}}]}) == ["spec.http[0].rewrite.zzz: unknown field 'zzz'; known here: uri, authority"]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"hosts": [1.1]}, "spec.hosts[0]: expected a text, found the number 1.1; put it in quotes"),
        ({"hosts": "reviews"}, "spec.hosts: expected a list, found the text 'reviews'; begin the item with '- '"),
        ({"http": [{"timeout": 5}]}, "spec.http[0].timeout: expected a duration, found the number 5; write 5s"),
        (
            {"http": [{"websocketUpgrade": "yes"}]},
            "spec.http[0].websocketUpgrade: expected true or false, found the text 'yes'; write true or false, without quotes",
        ),
        (
            {"http": [{"mirrorPercent": "5"}]},
            "spec.http[0].mirrorPercent: expected a whole number, found the text '5'; write it without quotes",
        ),
        ({"http": [{"mirror": {}}]}, "spec.http[0].mirror: field 'host' is missing"),
        ({"http": [{"mirrorPercent": 2**40}]}, f"spec.http[0].mirrorPercent: {2**40} is out of range for a whole number of 32 bits"),
        (
            {"http": [{"match": [{"uri": {"exact": "a", "regex": "b"}}]}]},
            "spec.http[0].match[0].uri: set only one of exact, prefix, regex; found exact, regex",
        ),
    ],
)
def test_messages_say_what_to_do(spec: dict[str, Any], message: str) -> None:
    assert messages(spec) == [message]


def test_an_unknown_value_names_the_near_one() -> None:
    found = messages({"peers": [{"mtls": {"mode": "strict"}}]}, POLICY)
    assert found == ["spec.peers[0].mtls.mode: 'strict' is not one of PERMISSIVE, STRICT; did you mean STRICT?"]


def test_all_mistakes_are_reported_in_the_order_of_list_indexes() -> None:
    spec = {"http": [{"nme": 1} for _ in range(11)]}
    paths = [found.path for found in explain(VIRTUAL_SERVICE, document(spec))]
    assert paths == [f"spec.http[{index}].nme" for index in range(11)]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (5, "a resource is a mapping with apiVersion, kind, metadata and spec; found the number 5"),
        ({"kind": "VirtualService"}, "apiVersion: apiVersion is missing"),
        ({"apiVersion": 1, "kind": "x"}, "apiVersion: expected a text, found the number 1"),
        (
            {"apiVersion": "networking.istio.io/v1", "kind": "Gateway"},
            "kind: kind Gateway has no version 'networking.istio.io/v1'; " + "use apiVersion networking.istio.io/v1alpha3",
        ),
        ({"apiVersion": "x/v1", "kind": "VirtulService"}, "kind: unknown kind 'VirtulService' of 'x/v1'; did you mean 'VirtualService'?"),
    ],
)
def test_what_is_no_resource_is_said_to_be_none(value: Any, message: str) -> None:
    found = kind_of(value)
    assert isinstance(found, Problem)
    assert str(found) == message


def test_snake_case_null_and_whole_floats_are_brought_into_normal_form() -> None:
    written = document({"http": [{"mirror_percent": 12.0, "timeout": None}]})
    before = copy.deepcopy(written)
    normal, problems = structure(VIRTUAL_SERVICE, written)
    assert problems == ()
    assert normal["spec"] == {"http": [{"mirrorPercent": 12}]}
    assert written == before


def test_a_bare_mtls_means_strict_and_not_absence() -> None:
    normal, problems = structure(POLICY, document({"peers": [{"mtls": None}]}, POLICY))
    assert problems == ()
    assert from_document(normal).spec.peers[0].mtls.mode == "STRICT"


def test_lenient_drops_unknown_fields_and_still_refuses_wrong_types() -> None:
    normal, problems = structure(VIRTUAL_SERVICE, document({"hosts": ["a"], "surprise": 1}), lenient=True)
    assert (normal["spec"], problems) == ({"hosts": ["a"]}, ())
    assert structure(VIRTUAL_SERVICE, document({"hosts": 5}), lenient=True)[1]


def test_params_are_free() -> None:
    handler = registry.find("config.istio.io/v1alpha2", "handler")
    params = {"any": [{"thing": None}], "some_name": 1.0}
    normal, problems = structure(handler, document({"compiledAdapter": "x", "params": params}, handler))
    assert problems == ()
    assert normal["spec"]["params"] == params


def test_canonical_bytes_do_not_depend_on_the_order_of_fields() -> None:
    spec = {"hosts": ["a", "b"], "gateways": ["g"], "http": [{"timeout": "5s", "name": "n"}]}
    shuffled = list(spec.items())
    random.Random(1).shuffle(shuffled)
    assert encode(from_document(document(spec))) == encode(from_document(document(dict(shuffled))))
