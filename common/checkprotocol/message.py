# SPDX-License-Identifier: Apache-2.0
"""Bodies of the fast Check: a flat row of records, each a tag and a fixed number of netstrings (`5:hello`).

Lua writes and reads this without a library, arbitrary octets need no escape, and no value can run into the next. A reader skips nothing:
an unknown tag is an error, because a policy answer that is half understood must not be acted on. The version stands in the path.
Octets that are no UTF-8 are replaced in Python; the filter compares and keys the octets themselves.

| question | | answer | |
|---|---|---|---|
| `E` epoch | of the route | `C` code, name, HTTP status, message | a denial; missing when OK |
| `H` version | which header selection was used | `F` like `C` | Mixer could not decide: the route's fail policy does |
| | | `V` milliseconds, uses | how long and how often it may be reused |
| `D` id | deduplicates quota on a repeat | `R` name, key | one reference of the shape |
| `S` `I` `B` `P` name, value | string, integer, `0`/`1`, address | `O` phase, operation, name, value | header operation |
| `M` name, key, value | one entry of a string map | `X` status, body | direct response |
| `G` pattern, value | regular expression to compare | `G` pattern, value, `0`/`1` | whether all of the value matches |
| `Q` name, amount, best effort | quota | `Q` name, granted, milliseconds | quota result |
| | | `q` name, reference, key | one reference of a quota result |
| | | `W` version, names | header selection from now on; `*` is all |
| | | `A` reason | ask again with all headers |
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final, NamedTuple

from common.checkprotocol.attributes import FILTER_ATTRIBUTES, Reference, Tag

PATH: Final = "/mixer/check/v1"
MAX_BODY: Final = 256 * 1024
"""Octets: twice what Envoy accepts as request headers, with room for the frames."""
MAX_RECORDS: Final = 4096
ALL_HEADERS: Final = "*"

_ATTRIBUTE_TAGS: Final = frozenset(Tag)
_QUESTION_ARITY: Final = {"E": 1, "H": 1, "D": 1, "G": 2, "S": 2, "I": 2, "B": 2, "P": 2, "M": 3, "Q": 3}
_ANSWER_ARITY: Final = {"C": 4, "F": 4, "G": 3, "V": 2, "R": 2, "O": 4, "X": 2, "Q": 3, "q": 3, "W": 2, "A": 1}


class MessageError(ValueError):
    """The body is not a row of records; the text says where and why."""


class AskedQuota(NamedTuple):
    """A quota that travels in a question."""

    amount: int
    best_effort: bool


@dataclass(slots=True)
class Question:
    """What the filter asks. `attributes` are as Mixer's bag holds them: str, int, bool, address octets, maps of str."""

    attributes: dict[str, Any] = field(default_factory=dict)
    epoch: str = ""
    headers_version: str = ""
    """The header selection that the sender knew; empty when it sent all."""
    dedup_id: str = ""
    quotas: dict[str, AskedQuota] = field(default_factory=dict)
    comparisons: tuple[tuple[str, str], ...] = ()
    """Regular expressions of QuotaSpecs with the values to compare. A question that has some asks nothing else."""

    @classmethod
    def parse(cls, body: bytes) -> Question:
        """Raises MessageError."""
        question = cls(attributes={"request.headers": {}})
        attributes = question.attributes
        for tag, values in records(body, _QUESTION_ARITY):
            if tag in _ATTRIBUTE_TAGS:
                name = values[0]
                if FILTER_ATTRIBUTES.get(name) != tag:
                    raise MessageError(f"attribute {name!r} cannot be sent as {tag}")
                if tag == "S":
                    attributes[name] = values[1]
                elif tag == "M":
                    attributes[name][values[1]] = values[2]
                elif tag == "B":
                    attributes[name] = values[1] == "1"
                else:
                    attributes[name] = _integer(values[1]) if tag == "I" else _address(values[1])
                continue
            match tag:
                case "Q":
                    question.quotas[values[0]] = AskedQuota(_amount(values[1]), values[2] == "1")
                case "E":
                    question.epoch = values[0]
                case "H":
                    question.headers_version = values[0]
                case "G":
                    question.comparisons += ((values[0], values[1]),)
                case _:
                    question.dedup_id = values[0]
        return question

    def encode(self) -> bytes:
        """The body, as the filter would write it; for tests and tools."""
        rows = [record("E", self.epoch), record("H", self.headers_version), record("D", self.dedup_id)]
        for name, value in self.attributes.items():
            if isinstance(value, Mapping):
                rows += [record("M", name, key, entry) for key, entry in value.items()]
            elif isinstance(value, bool):
                rows.append(record("B", name, "1" if value else "0"))
            elif isinstance(value, int):
                rows.append(record("I", name, str(value)))
            elif isinstance(value, bytes):
                rows.append(record("P", name, str(ipaddress.ip_address(value))))
            else:
                rows.append(record("S", name, value))
        rows += [record("G", *comparison) for comparison in self.comparisons]
        rows += [record("Q", name, str(asked.amount), "1" if asked.best_effort else "0") for name, asked in self.quotas.items()]
        return b"".join(rows)


class AnsweredHeader(NamedTuple):
    """A header operation. `phase` is `request` or `response`, `operation` is `replace`, `remove` or `append`."""

    phase: str
    operation: str
    name: str
    value: str


class AnsweredQuota(NamedTuple):
    """Tokens granted, how many seconds they last, and in which attributes the quota counts."""

    granted: int
    valid_duration: float
    shape: tuple[Reference, ...] | None


class Status(NamedTuple):
    """A google.rpc status that is not OK. The client sees `http_status` and `name:message`."""

    code: int
    name: str
    http_status: int
    message: str


@dataclass(slots=True)
class Answer:
    """What Mixer answers. `shape` None, a zero duration or zero uses mean: for this request only."""

    denial: Status | None = None
    failure: Status | None = None
    valid_duration: float = 0.0
    valid_use_count: int = 0
    shape: tuple[Reference, ...] | None = None
    headers: tuple[AnsweredHeader, ...] = ()
    direct_response: tuple[int, str] | None = None
    quotas: dict[str, AnsweredQuota] = field(default_factory=dict)
    selection: tuple[str, tuple[str, ...]] | None = None
    """Version and names of the request headers that Mixer's policy reads."""
    again: str = ""
    comparisons: tuple[tuple[str, str, bool], ...] = ()
    """Each asked regular expression and value, with the verdict."""

    def encode(self) -> bytes:
        """The body."""
        rows: list[bytes] = []
        if self.again:
            rows.append(record("A", self.again))
        for tag, status in (("C", self.denial), ("F", self.failure)):
            if status is not None:
                rows.append(record(tag, str(status.code), status.name, str(status.http_status), status.message))
        if self.shape is not None and self.valid_duration > 0 and self.valid_use_count > 0:
            rows.append(record("V", str(round(self.valid_duration * 1000)), str(self.valid_use_count)))
            rows += [record("R", *reference) for reference in self.shape]
        rows += [record("G", pattern, value, "1" if verdict else "0") for pattern, value, verdict in self.comparisons]
        rows += [record("O", *operation) for operation in self.headers]
        if self.direct_response is not None:
            rows.append(record("X", str(self.direct_response[0]), self.direct_response[1]))
        for name, quota in self.quotas.items():
            lasts = 0 if quota.shape is None else round(quota.valid_duration * 1000)
            rows.append(record("Q", name, str(quota.granted), str(lasts)))
            rows += [record("q", name, *reference) for reference in quota.shape or ()]
        if self.selection is not None:
            rows.append(record("W", self.selection[0], ",".join(self.selection[1])))
        return b"".join(rows)

    @classmethod
    def parse(cls, body: bytes) -> Answer:
        """Raises MessageError. The reader that counts is the Lua text; this one is for tests and tools."""
        answer = cls()
        shape: list[Reference] = []
        shapes: dict[str, list[Reference]] = {}
        for tag, values in records(body, _ANSWER_ARITY):
            match tag:
                case "A":
                    answer.again = values[0]
                case "C":
                    answer.denial = _status(values)
                case "F":
                    answer.failure = _status(values)
                case "V":
                    answer.valid_duration, answer.valid_use_count = _integer(values[0]) / 1000, _integer(values[1])
                case "R":
                    shape.append(Reference(*values))
                case "G":
                    answer.comparisons += ((values[0], values[1], values[2] == "1"),)
                case "O":
                    answer.headers += (AnsweredHeader(*values),)
                case "X":
                    answer.direct_response = (_integer(values[0]), values[1])
                case "Q":
                    answer.quotas[values[0]] = AnsweredQuota(_integer(values[1]), _integer(values[2]) / 1000, ())
                case "q":
                    shapes.setdefault(values[0], []).append(Reference(values[1], values[2]))
                case _:
                    answer.selection = (values[0], tuple(name for name in values[1].split(",") if name))
        answer.shape = tuple(shape) if answer.valid_duration else None
        for name, references in shapes.items():
            answer.quotas[name] = answer.quotas[name]._replace(shape=tuple(references))
        return answer


def record(tag: str, *values: str) -> bytes:
    """One record."""
    parts = [tag.encode()]
    for value in values:
        octets = value.encode()
        parts.append(b"%d:%b" % (len(octets), octets))
    return b"".join(parts)


def records(body: bytes, arity: Mapping[str, int]) -> Iterator[tuple[str, list[str]]]:
    """Walk through a body. Raises MessageError at the first octet that does not fit."""
    plain = body.isascii()
    text = body.decode("latin-1")  # a character for each octet, so that lengths hold; slicing a str is twice as fast as decoding slices
    position, end, count = 0, len(text), 0
    while position < end:
        tag = text[position]
        wanted = arity.get(tag)
        count += 1
        if wanted is None or count > MAX_RECORDS:
            raise MessageError(f"unknown record {tag!r} at octet {position}" if wanted is None else f"more than {MAX_RECORDS} records")
        position += 1
        values: list[str] = []
        for _ in range(wanted):
            colon = text.find(":", position, position + 8)
            length = text[position:colon]
            if colon < 0 or not length.isdecimal():
                raise MessageError(f"no length at octet {position}")
            start = colon + 1
            position = start + int(length)
            if position > end:
                raise MessageError(f"value at octet {start} is cut off")
            values.append(text[start:position] if plain else body[start:position].decode("utf-8", "replace"))
        yield tag, values


def _status(values: list[str]) -> Status:
    return Status(_integer(values[0]), values[1], _integer(values[2]), values[3])


def _integer(text: str) -> int:
    try:
        value = int(text)
    except ValueError:
        raise MessageError(f"{text!r} is not an integer") from None
    if not -(1 << 63) <= value < 1 << 63:
        raise MessageError(f"{text!r} does not fit 64 bits")
    return value


def _amount(text: str) -> int:
    """Adapters take a negative amount for a return: whoever could send one would refill what others share."""
    value = _integer(text)
    if value < 0:
        raise MessageError(f"{text!r} is no amount of a quota")
    return value


@lru_cache(maxsize=10_000)
def _address(text: str) -> bytes:
    try:
        return ipaddress.ip_address(text).packed
    except ValueError:
        raise MessageError(f"{text!r} is not an IP address") from None
