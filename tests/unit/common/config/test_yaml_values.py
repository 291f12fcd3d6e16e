# SPDX-License-Identifier: Apache-2.0
"""The quick reader has the values of the one that explains, or none."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from common.config.hygiene import MAX_DEPTH
from common.config.yaml_reading import Position, _Reader, read_documents
from common.config.yaml_values import plain_documents

FRAGMENTS = (
    "a", "b", "key", "1", "0o17", "1e3", "010", "~", "true", "No", ".inf", "99999999999999999999", "'q'", '"d"', '"\\u0041"', "",
    ": ", ":", "- ", "\n", "\n  ", "\n    ", "{", "}", "[", "]", ", ", "? ", "| ", "|\n", ">\n", "---\n", "...\n", "# c\n",
    "&x ", "*x", "<<: ", "!!str ", "!t ", "%YAML 1.2\n", "\t", "é", "\x07",
)  # fmt: skip


def both(text: str) -> tuple[Any, Any]:
    plain = plain_documents(text, max_depth=MAX_DEPTH)
    full = list(_Reader(text).documents())
    return plain, full


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(FRAGMENTS), max_size=14).map("".join))
def test_the_values_are_the_same_or_left_to_the_other(text: str) -> None:
    plain, full = both(text)
    if plain is None:
        return
    assert not any(document.problems for document in full)
    assert [(repr(d.value), d.line, d.column) for d in plain] == [(repr(d.value), *(d.begin or (0, 0))) for d in full]


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.dictionaries(st.text(), VALUES, min_size=1, max_size=4), max_size=3), st.booleans())
def test_what_a_dumper_writes_is_read_alike(values: list[Any], flow: bool) -> None:
    plain, full = both(yaml.dump_all(values, Dumper=yaml.CSafeDumper, default_flow_style=flow))
    if plain is not None:
        assert repr([d.value for d in plain]) == repr([d.value for d in full])


@pytest.mark.parametrize("text", ["a: &x 1\nb: *x", "a: !!str 1", "a: 1\na: 2", "a: .nan", "? [a]\n: 1", "a: [", "<<: {a: 1}"])
def test_what_is_not_plain_is_left_to_the_other(text: str) -> None:
    assert plain_documents(text, max_depth=MAX_DEPTH) is None


def test_depth_is_capped_at_the_same_level() -> None:
    for depth in (MAX_DEPTH, MAX_DEPTH + 1):
        plain, (full,) = both("[" * depth + "]" * depth)
        assert (plain is None) == bool(full.problems) == (depth > MAX_DEPTH)


def test_plain_documents_find_their_positions_when_asked() -> None:
    first, second = read_documents(b"a: 1\n---\n\nb:\n- c: 2\n")
    assert (first.begin, second.begin) == (Position(1, 1), Position(4, 1))
    assert second.position("b[0].c") == Position(5, 3)
    assert first.position("a") == Position(1, 1)
