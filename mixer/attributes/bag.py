# SPDX-License-Identifier: Apache-2.0
"""The attribute bag: a plain mapping from attribute name to value (`common.expression.values`), and the record of what was read from it.

There is no bag class. The hot paths build dicts and compiled code reads them; only a Check that wants its answer cached looks through a `Tracker`,
which notes every read as Istio 1.4's bag did (`ReferencedAttributes`): a cached answer holds for every bag that agrees on these reads.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, NoReturn, TypeAlias

from common.expression import ExpressionError, ValueType, Vocabulary
from common.expression.values import Value, fits

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
        if isinstance(value, Mapping):
            return TrackedMap(name, value, self._seen)
        self._seen[name, None] = value is not None
        return value

    def snapshot(self) -> tuple[Referenced, ...]:
        """What was read so far, sorted by name and key, so that equal reads give equal cache keys."""
        return tuple(sorted(Referenced(name, key, present) for (name, key), present in self._seen.items()))

    def fork(self) -> Tracker:
        """A tracker of the same bag that starts from what this one has seen: each quota answers for itself."""
        copy = Tracker(self._bag)
        copy._seen = dict(self._seen)
        return copy


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


class Mistyped:
    """Stands in a bag for a value of another type than declared, so that reading it fails as in Istio 1.4 and compiled code needs no checks."""

    __slots__ = ("_message",)

    def __init__(self, value: object, type_: ValueType) -> None:
        self._message = f"error converting value to {type_}: {value!r}"

    def _fail(self, *_: object) -> NoReturn:
        raise ExpressionError("eval", self._message)

    __eq__ = __lt__ = __le__ = __gt__ = __ge__ = __add__ = __radd__ = __getattr__ = _fail
    __bool__ = __hash__ = __str__ = __len__ = __iter__ = __truediv__ = __ne__ = _fail


def conform(bag: Bag, vocabulary: Vocabulary) -> dict[str, Any]:
    """A copy of `bag` in which declared attributes of a wrong type are `Mistyped`. Edges that take types from strangers call this once."""
    result: dict[str, Any] = dict(bag)
    for name, value in bag.items():
        type_ = vocabulary.get(name)
        if type_ is not None and not fits(value, type_):
            result[name] = Mistyped(value, type_)
    return result
