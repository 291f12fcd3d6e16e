# SPDX-License-Identifier: Apache-2.0
"""Files as people write them: places, duplicates, anchors, caps, and YAML's traps."""

from __future__ import annotations

import json
import textwrap
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.config.hygiene import MAX_DEPTH
from common.config.problem import Problem, parse_path, render_path
from common.config.yaml_reading import MAX_BYTES, MAX_NODES_FROM_ALIASES, Document, Position, read_documents


def one(text: str) -> Document:
    (document,) = read_documents(textwrap.dedent(text).encode())
    return document


def problems(text: str) -> list[str]:
    return [f"{found.line}: {found}" for document in read_documents(textwrap.dedent(text).encode()) for found in document.problems]


def test_every_field_has_the_place_of_its_key_and_every_item_its_own() -> None:
    document = one("""\
        spec:
          http:
          - route:
            - {weight: 5, host: "x"}
          - b
        """)
    assert document.value == {"spec": {"http": [{"route": [{"weight": 5, "host": "x"}]}, "b"]}}
    assert document.position("spec.http") == Position(2, 3)
    assert document.position("spec.http[0].route[0].host") == Position(4, 19)
    assert document.position("spec.http[1]") == Position(5, 5)


def test_a_missing_field_is_placed_at_what_is_around_it() -> None:
    document = one("spec:\n  a:\n    b: 1\n")
    assert document.position("spec.a.c[3].d") == Position(2, 3)
    assert document.located(Problem(path="spec.a.c", message="m")).line == 2


def test_camel_case_paths_find_snake_case_keys() -> None:
    assert one("a:\n  mirror_percent: 1\n").position("a.mirrorPercent") == Position(2, 3)


def test_documents_are_separate_and_empty_ones_are_left_out() -> None:
    documents = read_documents(b"---\n# nothing\n---\na: 1\n---\n\n---\na: 2\n")
    assert [document.value for document in documents] == [{"a": 1}, {"a": 2}]
    assert documents[1].position("a") == Position(8, 1)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"),
        ("on", "on"),
        ("true", True),
        ("FALSE", False),
        ("~", None),
        ("", None),
        ("null", None),
        ("5", 5),
        ("-5", -5),
        ("0x1F", 31),
        ("0o17", 15),
        ("010", "010"),
        ("1:30", "1:30"),
        ("1_000", "1_000"),
        ("1.10", 1.1),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("2020-01-01", "2020-01-01"),
        ("1.2.3", "1.2.3"),
        ("'5'", "5"),
        ('"true"', "true"),
        ("!!str 5", "5"),
        ("!!int 5", 5),
        ("|\n  a\n  b\n", "a\nb\n"),
    ],
)
def test_scalars_follow_yaml_1_2(text: str, value: Any) -> None:
    found = one(f"a: {text}")
    assert found.problems == ()
    assert found.value == {"a": value}
    assert type(found.value["a"]) is type(value)


@pytest.mark.parametrize("text", [".nan", ".inf", "-.Inf", "1e999", "9" * 30])
def test_numbers_that_json_cannot_hold_are_refused(text: str) -> None:
    assert "is not a number that configuration can hold" in problems(f"a: {text}")[0]


def test_a_key_twice_is_an_error_that_names_both_lines() -> None:
    assert problems("a: 1\nb: 2\na: 3\n") == ["3: a: key 'a' appears twice; the first is in line 1. Remove one."]


def test_aliases_and_merges_are_understood() -> None:
    document = one("""\
        base: &base {x: 1, y: 2}
        copy: *base
        merged:
          <<: *base
          y: 3
        """)
    assert document.problems == ()
    assert document.value == {"base": {"x": 1, "y": 2}, "copy": {"x": 1, "y": 2}, "merged": {"y": 3, "x": 1}}


def test_a_billion_laughs_end_early() -> None:
    levels = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"] + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 30)]
    (found,) = problems("\n".join(levels))
    assert f"aliases repeat more than {MAX_NODES_FROM_ALIASES} values" in found


def test_an_alias_of_itself_is_refused() -> None:
    assert "refers to nothing that was read before it" in problems("a: &a [*a]\n")[0]


@pytest.mark.parametrize("opening", ["[", '{"a":'])
def test_depth_is_capped(opening: str) -> None:
    assert f"nested more than {MAX_DEPTH} levels deep" in problems(opening * 5000)[0]


def test_depth_of_json_is_capped_too() -> None:
    text = '{"s": "\\ud83d\\ude00", "a":' * 100 + "1" + "}" * 100
    assert read_documents(text.encode())[0].problems


def test_size_is_capped() -> None:
    (document,) = read_documents(b"a" * (MAX_BYTES + 1))
    assert "Split it" in document.problems[0].message


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        (b"a: 1\n\tb: 2\n", 2, "indent with spaces, not tabs"),
        (b"a: b: c\n", 1, "needs quotes"),
        (b"a:\n  - x\n y: 1\n", 3, "indentation"),
        (b"a: {b: c d: e}\n", 1, "must itself be quoted"),
        (b"a: \x01\n", 1, "control characters"),
        (b"ok: 1\nb: \xff\n", 2, "not UTF-8"),
        (b"a: !!python/object:os.system x\n", 1, "is not supported; remove it"),
        (b"? [a]\n: 1\n", 1, "a key must be a plain text"),
        (b"a: !!int x\n", 1, "does not fit its tag !!int"),
    ],
)
def test_mistakes_have_a_line_and_a_remedy(text: bytes, line: int, words: str) -> None:
    found = [each for document in read_documents(text) for each in document.problems]
    assert found[0].line == line
    assert words in found[0].message


def test_documents_before_a_mistake_are_still_read() -> None:
    good, bad = read_documents(b"a: 1\n---\nb: [\n")
    assert (good.value, good.problems) == ({"a": 1}, ())
    assert bad.problems


def test_reading_goes_on_after_a_document_that_is_no_yaml() -> None:
    first, second, third = read_documents(b"a: {\n---\nb: 1\n---\nc: [\n")
    assert (first.problems[0].line, third.problems[0].line) == (2, 6)
    assert (second.value, second.problems, second.position("b")) == ({"b": 1}, (), Position(3, 1))


def test_json_has_places_and_its_own_escapes() -> None:
    assert one('{"a": {"b": 1}}').position("a.b") == Position(1, 8)
    assert one('{"a": "\\ud83d\\ude00"}').value == {"a": "😀"}
    assert "appears twice" in problems('{"a": 1, "a": 2}')[0]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(st.text(), JSON, min_size=1, max_size=4))
def test_whatever_json_writes_is_read_back(value: dict[str, Any]) -> None:
    (document,) = read_documents(json.dumps(value).encode())
    if any("<<" in str(path) for path in document.positions):
        return  # '<<' is YAML's merge
    assert document.problems == ()
    assert document.value == value


@given(st.lists(st.text(min_size=1) | st.integers(0, 99)))
def test_paths_survive_being_written_and_read(path: list[str | int]) -> None:
    assert parse_path(render_path(path)) == tuple(path)


def test_paths_look_as_people_expect() -> None:
    assert render_path(("spec", "http", 0, "headers", "end-user")) == "spec.http[0].headers.end-user"
    assert render_path(("metadata", "labels", "app.io/name")) == 'metadata.labels["app.io/name"]'
