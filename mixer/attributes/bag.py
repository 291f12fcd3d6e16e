# SPDX-License-Identifier: Apache-2.0
"""The attribute bag: a plain mapping from attribute name to value (`common.expression.values`), and the record of what was read from it.

There is no bag class. The hot paths build dicts and compiled code reads them; only a Check that wants its answer cached looks through a `Tracker`,
which notes every read as Istio 1.4's bag did (`ReferencedAttributes`): a cached answer holds for every bag that agrees on these reads.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, TypeAlias

from common.expression import ValueType
from common.expression.values import Value, fits, wrong_type

Bag: TypeAlias = Mapping[str, Value]


class Referenced(NamedTuple):
    """One read: attribute `name`, or with `map_key` one entry of a string map. `present` False means that its absence was seen."""

    name: str
    map_key: str | None
    present: bool


class Tracker:
    """Reads through to a bag and records: absent -> ABSENCE, present -> EXACT; a present map records the keys that are read, not itself."""

    __slots__ = ("_bag", "_seen")

    def __init__(self, bag: Bag) -> None:
        self._bag = bag
        self._seen: dict[tuple[str, str | None], bool] = {}

    def get(self, name: str) -> Any:
        """The value or None. Compiled code calls this where the untracked variant reads the dict."""
        value = self._bag.get(name)
        if value.__class__ is not str and isinstance(value, Mapping):
            return TrackedMap(name, value, self._seen)
        self._seen[name, None] = value is not None
        return value

    def snapshot(self) -> tuple[Referenced, ...]:
        """What was read so far, sorted by name and key, so that equal reads give equal cache keys."""
        return tuple(sorted(Referenced(name, key, present) for (name, key), present in self._seen.items()))


class TrackedMap(Mapping[str, str]):
    """A string map whose key reads are recorded under its attribute's name."""

    __slots__ = ("_entries", "_name", "_seen")

    def __init__(self, name: str, entries: Mapping[str, str], seen: dict[tuple[str, str | None], bool]) -> None:
        self._name, self._entries, self._seen = name, entries, seen

    def get(self, key: str, default: Any = None) -> Any:
        value = self._entries.get(key)
        self._seen[self._name, key] = value is not None
        return default if value is None else value

    def __getitem__(self, key: str) -> str:
        value = self.get(key)
        if value is None:
            raise KeyError(key)
        return str(value)

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def entries(self) -> Mapping[str, str]:
        """The map itself, without recording (Istio 1.4 records nothing for a map that is used as a whole)."""
        return self._entries


class TypedBag(Mapping[str, Value]):
    """A bag from a stranger (`istio.mixer.v1`, the CLI): reading an attribute of another type than declared fails, as in Istio 1.4."""

    __slots__ = ("_bag", "_vocabulary")

    def __init__(self, bag: Bag, vocabulary: Mapping[str, ValueType]) -> None:
        self._bag, self._vocabulary = bag, vocabulary

    def get(self, name: str, default: Any = None) -> Any:
        value = self._bag.get(name)
        if value is None:
            return default
        type_ = self._vocabulary.get(name)
        if type_ is not None and not fits(value, type_):
            raise wrong_type(type_, value)
        return value

    def __getitem__(self, name: str) -> Value:
        value: Value | None = self.get(name)
        if value is None:
            raise KeyError(name)
        return value

    def __iter__(self) -> Iterator[str]:
        return iter(self._bag)

    def __len__(self) -> int:
        return len(self._bag)
