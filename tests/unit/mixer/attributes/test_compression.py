# SPDX-License-Identifier: Apache-2.0
"""The wire form of attributes: what is written is read back, and what is nonsense is refused."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.expression.values import Duration, Timestamp
from common.proto.mixer.attributes_pb2 import CompressedAttributes
from common.proto.mixer.service_pb2 import ReferencedAttributes
from mixer.attributes.bag import Referenced
from mixer.attributes.compression import CompressionError, Dictionary, compress, decompress, referenced_attributes
from mixer.attributes.dictionary import GLOBAL_WORDS

_words = st.sampled_from(GLOBAL_WORDS) | st.text(max_size=8)
_values: st.SearchStrategy[Any] = st.one_of(
    _words,
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    st.booleans(),
    st.binary(max_size=16),
    st.integers(-(2**60), 2**60).map(Duration),
    st.integers(0, 2**60).map(Timestamp),
    st.dictionaries(_words, _words, max_size=4),
)


@given(st.dictionaries(_words, _values, max_size=8))
def test_what_is_compressed_is_read_back(bag: dict[str, Any]) -> None:
    found = decompress(compress(bag))
    assert found == bag
    assert {name: type(value) for name, value in found.items()} == {name: type(value) for name, value in bag.items()}


@given(st.dictionaries(_words, _values, max_size=8))
def test_words_may_stand_in_a_shared_list(bag: dict[str, Any]) -> None:
    dictionary = Dictionary()
    message = compress(bag, dictionary)
    assert not message.words
    assert decompress(message, dictionary.words) == bag


def test_the_list_is_istios() -> None:
    assert len(GLOBAL_WORDS) == len(set(GLOBAL_WORDS)) == 222
    places = {0: "source.ip", 94: "'200'", 108: "text/html; charset=utf-8", 111: "'0'", 134: "0", 218: '"-"', 221: "context.proxy_version"}
    assert {place: GLOBAL_WORDS[place] for place in places} == places


@pytest.mark.parametrize("index", [222, -1, -5, 2**31 - 1, -(2**31)])
def test_an_index_outside_every_list_is_refused(index: int) -> None:
    with pytest.raises(CompressionError, match="not defined"):
        decompress(CompressedAttributes(int64s={index: 5}))


def test_one_name_under_two_types_is_refused() -> None:
    with pytest.raises(CompressionError, match="two types"):
        decompress(CompressedAttributes(int64s={0: 5}, bools={0: True}))


def test_references_use_only_words_that_the_asker_knows() -> None:
    referenced = (Referenced("context.proxy_version", None, True), Referenced("request.headers", "x-own", False))
    full = referenced_attributes(referenced, 222)
    assert [(m.name, m.condition, m.map_key) for m in full.attribute_matches] == [
        (221, ReferencedAttributes.EXACT, 0),
        (15, ReferencedAttributes.ABSENCE, -1),
    ]
    assert list(full.words) == ["x-own"]
    none = referenced_attributes(referenced, 0)
    assert list(none.words) == ["context.proxy_version", "request.headers", "x-own"]
    assert [m.name for m in none.attribute_matches] == [-1, -2]
