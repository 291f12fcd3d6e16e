# SPDX-License-Identifier: Apache-2.0
"""Attributes of `istio.mixer.v1` to and from bags. Names, texts and map entries travel as indexes into word lists."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from common.expression.values import NANOSECONDS, Duration, Timestamp
from common.proto.mixer.attributes_pb2 import CompressedAttributes
from common.proto.mixer.attributes_pb2 import StringMap as CompressedMap
from common.proto.mixer.service_pb2 import ReferencedAttributes
from mixer.attributes.bag import Referenced
from mixer.attributes.dictionary import GLOBAL_INDEX, GLOBAL_WORDS


class CompressionError(ValueError):
    """A message refers to words that do not exist, or uses one name under two types."""


class Words:
    """Reads indexes: not negative is a place in the global list, -1 - i is place i of the message's own words."""

    def __init__(self, own: Sequence[str]) -> None:
        self._own = own

    def __getitem__(self, index: int) -> str:
        """Raises CompressionError for a place that is not there."""
        words, place = (GLOBAL_WORDS, index) if index >= 0 else (self._own, -1 - index)
        if place >= len(words):
            raise CompressionError(f"attribute index {index} is not defined in the available dictionaries")
        return words[place]


def decompress(message: CompressedAttributes, default_words: Sequence[str] = ()) -> dict[str, Any]:
    """The bag of a message. `default_words` serve a message that brings no words. Raises CompressionError."""
    words = Words(message.words or default_words)
    bag: dict[str, Any] = {}
    for name, value in _values(message, words):
        if name in bag:
            raise CompressionError(f"attribute {name} stands in the message under two types")
        bag[name] = value
    return bag


def _values(message: CompressedAttributes, words: Words) -> Iterator[tuple[str, Any]]:
    for index, word in message.strings.items():
        yield words[index], words[word]
    for index, entries in message.string_maps.items():
        yield words[index], {words[key]: words[value] for key, value in entries.entries.items()}
    for plain in (message.int64s, message.doubles, message.bools, message.bytes):
        for index, value in plain.items():
            yield words[index], value
    for index, moment in message.timestamps.items():
        yield words[index], Timestamp(moment.seconds * NANOSECONDS + moment.nanos)
    for index, span in message.durations.items():
        yield words[index], Duration(span.seconds * NANOSECONDS + span.nanos)


class Dictionary:
    """Writes indexes: known global words by their place, all others by a growing list of own words."""

    def __init__(self, global_words: int = len(GLOBAL_WORDS)) -> None:
        """`global_words` is how many of the global list the reader knows."""
        self._limit = global_words
        self._places: dict[str, int] = {}
        self.words: list[str] = []

    def index(self, word: str) -> int:
        place = GLOBAL_INDEX.get(word)
        if place is not None and place < self._limit:
            return place
        if word not in self._places:
            self._places[word] = len(self.words)
            self.words.append(word)
        return -1 - self._places[word]


def compress(bag: Mapping[str, Any], dictionary: Dictionary | None = None) -> CompressedAttributes:
    """The message of a bag. Words go into `dictionary` if one is given, else into the message."""
    shared = dictionary
    dictionary = shared or Dictionary()
    message = CompressedAttributes()
    for name, value in bag.items():
        _put(message, dictionary.index(name), value, dictionary)
    if shared is None:
        message.words.extend(dictionary.words)
    return message


def _put(message: CompressedAttributes, index: int, value: Any, dictionary: Dictionary) -> None:
    match value:
        case str():
            message.strings[index] = dictionary.index(value)
        case bool():
            message.bools[index] = value
        case Duration():
            message.durations[index].seconds, message.durations[index].nanos = _split(value)
        case Timestamp():
            message.timestamps[index].seconds, message.timestamps[index].nanos = divmod(value, NANOSECONDS)
        case int():
            message.int64s[index] = value
        case float():
            message.doubles[index] = value
        case bytes():
            message.bytes[index] = value
        case Mapping():
            entries = {dictionary.index(key): dictionary.index(text) for key, text in value.items()}
            message.string_maps[index].CopyFrom(CompressedMap(entries=entries))
        case _:
            raise CompressionError(f"a value of {type(value).__name__} cannot travel")


def _split(duration: Duration) -> tuple[int, int]:
    """Seconds and nanoseconds of one sign, as protobuf wants a duration."""
    seconds, nanos = divmod(abs(int(duration)), NANOSECONDS)
    return (-seconds, -nanos) if duration < 0 else (seconds, nanos)


def referenced_attributes(referenced: Iterable[Referenced], global_words: int) -> ReferencedAttributes:
    """What an answer depends on, in words that the asker knows."""
    dictionary = Dictionary(min(global_words, len(GLOBAL_WORDS)))
    message = ReferencedAttributes()
    for name, key, present in referenced:
        message.attribute_matches.add(
            name=dictionary.index(name),
            condition=ReferencedAttributes.EXACT if present else ReferencedAttributes.ABSENCE,
            map_key=0 if key is None else dictionary.index(key),
        )
    message.words.extend(dictionary.words)
    return message
