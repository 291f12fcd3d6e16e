# SPDX-License-Identifier: Apache-2.0
"""From bytes to checked resources: what is one mistake, what holds for several files, what a List stands for."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from galley.analysis import analyze
from galley.validation import validate_documents, validate_files, validate_value

SERVICE = b"apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {ports: [{port: 80}]}\n"
RULE = b"apiVersion: config.istio.io/v1alpha2\nkind: rule\nmetadata: {name: r}\nspec:\n  match: my.flag\n  actions: [{handler: h, instances: [i]}]\n"
MANIFEST = b"apiVersion: config.istio.io/v1alpha2\nkind: attributemanifest\nmetadata: {name: m}\nspec: {attributes: {my.flag: {valueType: BOOL}}}\n"


def test_each_document_has_its_own_result_and_its_line() -> None:
    good, bad = validate_documents(SERVICE + b"---\napiVersion: v1\nkind: Servce\n", "f.yaml")
    assert good.is_valid and good.name == "Service default/a" and good.line == 1
    assert not bad.is_valid and bad.resource is None
    assert [(found.line, found.path) for found in bad.problems] == [(7, "kind")]
    assert "did you mean 'Service'?" in bad.problems[0].message


def test_the_namespace_is_filled_in() -> None:
    (result,) = validate_documents(SERVICE, "f", default_namespace="prod")
    assert result.resource is not None and result.resource.namespace == "prod"
    assert result.value["metadata"] == {"name": "a", "namespace": "prod"}
    (mesh,) = validate_documents(
        b"apiVersion: mesh.istio.io/v1alpha1\nkind: MeshConfig\nmetadata: {name: default}\n", "f", default_namespace="prod"
    )
    assert mesh.is_valid and mesh.resource is not None and mesh.resource.namespace == "istio-system"


def test_a_manifest_in_another_file_counts() -> None:
    assert not validate_documents(RULE, "r.yaml")[0].is_valid
    assert all(result.is_valid for result in validate_files([("r.yaml", RULE), ("m.yaml", MANIFEST)]))


def test_the_same_resource_twice_names_the_first() -> None:
    results = validate_files([("a.yaml", SERVICE), ("b.yaml", b"\n" + SERVICE)])
    assert [result.is_valid for result in results] == [True, False]
    assert [str(found) for found in results[1].problems] == ["metadata.name: Service default/a is defined twice; first in a.yaml:1"]


def test_a_list_stands_for_its_items_with_their_lines() -> None:
    text = b"apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Service\n  metadata: {name: a}\n  spec:\n    prts: []\n"
    (result,) = validate_documents(text, "f")
    assert [(found.line, found.path) for found in result.problems] == [(8, "spec.prts")]


def test_lenient_ignores_unknown_fields() -> None:
    text = SERVICE.replace(b"spec: {", b"spec: {surprise: 1, ")
    assert not validate_documents(text, "f")[0].is_valid
    assert validate_documents(text, "f", lenient=True)[0].is_valid


def test_values_are_checked_like_files() -> None:
    resource, problems = validate_value(
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"}, "spec": {"ports": [{"port": 0}]}}
    )
    assert resource is not None and resource.key.mcp_name == "default/a"
    assert [str(found) for found in problems] == ["spec.ports[0].port: port 0 is out of range; expected 1 to 65535"]
    assert validate_value(["no"])[0] is None
    assert validate_value({"apiVersion": "v1", "kind": "Service", "metadata": {"name": 5}})[1][0].path == "metadata.name"


def test_status_and_server_side_metadata_are_accepted() -> None:
    text = SERVICE + b"status: {loadBalancer: {}}\n"
    text = text.replace(b"{name: a}", b"{name: a, managedFields: [], generation: 3, ownerReferences: []}")
    assert validate_documents(text, "f")[0].is_valid


def test_a_mistake_inside_a_misspelt_part_is_reported_beside_it() -> None:
    text = b"apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {ports: [{prt: 1, targetPort: []}], selector: 5, type: x}\n"
    (result,) = validate_documents(text, "f")
    expected = {"spec.ports[0]", "spec.ports[0].prt", "spec.ports[0].targetPort", "spec.selector", "spec.type"}
    assert {found.path for found in result.problems} == expected


def test_nothing_is_nothing() -> None:
    assert validate_documents(b"", "f") == []
    assert validate_documents(b"---\n# only a comment\n---\n", "f") == []


WORDS = "apiVersion kind metadata spec v1 Service networking.istio.io/v1alpha3 VirtualService http hosts route name ports match uri a 5 5s * ~ true"
SIGNS = [
    ": ",
    ": ",
    "\n",
    "\n",
    "\n  ",
    "\n    ",
    "- ",
    "{",
    "}",
    "[",
    "]",
    ",",
    "&a ",
    "*a",
    "<<: ",
    "---\n",
    "'",
    '"',
    "#",
    "!!str ",
    "|",
    "\t",
]
FRAGMENTS = st.sampled_from([*WORDS.split(), *SIGNS])


@settings(max_examples=150, deadline=None)
@given(st.lists(FRAGMENTS, max_size=40).map("".join).map(str.encode) | st.binary(max_size=60))
def test_no_input_breaks_the_reader_the_rules_or_the_analysis(text: bytes) -> None:
    results = validate_documents(text, "f")
    assert all(result.problems or result.is_valid for result in results)
    analyze(result.resource for result in results if result.resource is not None)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["apiVersion", "kind", "metadata", "name", "spec", "http", "items"]) | st.text(max_size=3), inner)
    ),
    max_leaves=10,
)


@settings(max_examples=100, deadline=None)
@given(VALUES, st.sampled_from(["Service", "VirtualService", "List", "rule"]))
def test_no_request_body_breaks_the_check(value: object, kind: str) -> None:
    body = {"apiVersion": "v1", "metadata": {"name": "x"}, "spec": {}, **value, "kind": kind} if isinstance(value, dict) else value
    resource, problems = validate_value(body)
    assert resource is not None or problems
