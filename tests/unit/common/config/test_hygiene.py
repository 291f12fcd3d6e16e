# SPDX-License-Identifier: Apache-2.0
"""Bad characters and endless nesting are found wherever they are, by the quick verdict and the slow search alike."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.config.hygiene import MAX_DEPTH, impurities

CHARACTERS = st.sampled_from(["a", "\\", "b", "u", "0", "\n", "\t", "\0", "\x07", "\x08", "\x0c", "\x7f", "\ud800", "é", "{", "["])
TEXTS = st.lists(CHARACTERS, max_size=6).map("".join)
VALUES = st.recursive(
    TEXTS | st.none() | st.integers(), lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3)
)


def texts(value: Any) -> list[str]:
    match value:
        case str():
            return [value]
        case list():
            return [text for item in value for text in texts(item)]
        case dict():
            return [text for name, item in value.items() for text in (name, *texts(item))]
    return []


@given(VALUES)
def test_each_bad_text_is_a_problem(value: Any) -> None:
    bad = [text for text in texts(value) if any(each in text for each in "\0\x07\x08\x0c\x7f\ud800")]
    assert len(list(impurities(value))) == len(bad)


@pytest.mark.parametrize("depth", [1, MAX_DEPTH, MAX_DEPTH + 1, 100_000])
def test_only_so_many_levels(depth: int) -> None:
    value: Any = "x"
    for level in range(depth):
        value = {"a": value} if level % 2 else [value]
    assert len(list(impurities(value))) == (depth > MAX_DEPTH)


def test_many_small_things_are_not_deep() -> None:
    assert not list(impurities([[{}]] * 1000))


def test_the_place_is_said() -> None:
    assert [found.path for found in impurities({"spec": {"hosts": ["a", "b\0"]}, "x\0y": {"z": "\0"}})] == ["", "", "spec.hosts[1]"]
