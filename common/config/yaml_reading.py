# SPDX-License-Identifier: Apache-2.0
"""YAML and JSON bytes -> documents whose every field knows its line.

One pass over libyaml's events gives values, positions and duplicate keys together; nothing recurses, so depth, size and aliases are
capped while reading. Scalars follow YAML 1.2 and not, as PyYAML does, 1.1. Plain documents are read without positions first
(`yaml_values`), and once more with them only when somebody asks for one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any, Final, NamedTuple, NoReturn

import msgspec
import yaml

from common.config.hygiene import MAX_DEPTH
from common.config.normalise import camel_case
from common.config.problem import MOST, Path, Problem, parse_path, problem
from common.config.yaml_scalars import NOT_REPRESENTABLE, plain_value
from common.config.yaml_values import plain_documents

MAX_BYTES: Final = 4 * 1024 * 1024
MAX_NODES_FROM_ALIASES: Final = 10_000
"""How many values aliases may add to one document: enough for honest anchors, too few for a "billion laughs"."""

MAX_RESTARTS: Final = 100
"""How many broken documents of one file are looked at."""

_SEPARATOR: Final = re.compile(r"---(\s|\Z)")
_TAG: Final = "tag:yaml.org,2002:"


class Position(NamedTuple):
    """Where something stands in its file; both count from 1."""

    line: int
    column: int


Positions = Mapping[Path, Position]


class Document:
    """One document of a file: its plain values, and the place of each of them."""

    __slots__ = ("_begin", "_positions", "problems", "value")

    def __init__(
        self,
        *,
        value: Any,
        positions: Positions | Callable[[], Positions],
        problems: tuple[Problem, ...] = (),
        begin: Position | None = None,
    ) -> None:
        """Positions may be a function that finds them when somebody asks; `begin` is known without asking."""
        self.value, self.problems = value, problems
        self._positions, self._begin = positions, begin

    @property
    def positions(self) -> Positions:
        if callable(self._positions):
            self._positions = self._positions()
        return self._positions

    @property
    def begin(self) -> Position | None:
        """Where the document begins. None for an empty one, or one that was never in a file."""
        return self._begin or self.positions.get(())

    def position(self, path: str | Path) -> Position | None:
        """The place of a field, or of the nearest thing around it that exists. None for an empty document."""
        steps = parse_path(path) if isinstance(path, str) else path
        here: Path = ()
        for step in steps:
            inner = (*here, step)
            if inner not in self.positions:
                inner = self._other_spelling(here, step)
                if inner not in self.positions:
                    break
            here = inner
        return self.positions.get(here)

    def located(self, found: Problem) -> Problem:
        """The same problem, with line and column filled in where it has none."""
        if found.line is not None or (place := self.position(found.path)) is None:
            return found
        return msgspec.structs.replace(found, line=place.line, column=place.column)

    def _other_spelling(self, here: Path, step: str | int) -> Path:
        """The file may spell a field in snake_case that problems spell in camelCase."""
        for path in self.positions:
            if len(path) == len(here) + 1 and path[:-1] == here and isinstance(path[-1], str) and camel_case(path[-1]) == step:
                return path
        return (*here, step)


def read_documents(data: bytes) -> tuple[Document, ...]:
    """All documents of a file that are not empty. What cannot be read is a problem of the document in which it stands."""
    if len(data) > MAX_BYTES:
        return (_unreadable(f"the file has {len(data)} bytes; at most {MAX_BYTES} are read. Split it."),)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        return (_unreadable(f"byte {data[error.start]:#04x} is not UTF-8; save the file as UTF-8", line=line, column=1),)
    if (plain := plain_documents(text, max_depth=MAX_DEPTH)) is not None:
        explained = cache(lambda: list(_Reader(text).documents()))
        return tuple(
            Document(
                value=value,
                positions=lambda place=place: explained()[place].positions,  # type: ignore[misc]
                begin=Position(line, column),
            )
            for place, (value, line, column) in enumerate(plain)
        )
    documents, malformed_at = _yaml_documents(text)
    if malformed_at is not None and text.lstrip()[:1] in ("{", "["):
        return _json_documents(text) or documents
    return documents


def _yaml_documents(text: str) -> tuple[tuple[Document, ...], int | None]:
    """All documents, and the line of the first that is no YAML. After such a one reading goes on at the next `---`."""
    found: list[Document] = []
    first: int | None = None
    start = 0
    for _ in range(MAX_RESTARTS):
        reader = _Reader(text)
        found += reader.documents()
        if reader.malformed_at is None:
            break
        first = first or reader.malformed_at
        lines = text.splitlines(keepends=True)
        onwards = range(max(start + 1, reader.malformed_at - 1), len(lines))  # the mistake may be noticed at the separator itself
        start = next((number for number in onwards if _SEPARATOR.match(lines[number])), 0)
        if not start:
            break
        text = "\n" * start + "".join(lines[start:])  # blank lines keep the numbers right
    return tuple(found), first


def _json_documents(text: str) -> tuple[Document, ...]:
    """JSON has a few spellings that YAML has not (surrogate pairs). When it is good JSON it is read as such, without positions."""
    try:
        value = json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_refuse_duplicates)
    except (ValueError, RecursionError):
        return ()
    return () if _depth(value) > MAX_DEPTH else (Document(value=value, positions={}),)


def _depth(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inner is None else 1 + max(map(_depth, inner), default=0)


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _refuse_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    mapping = dict(pairs)
    if len(mapping) != len(pairs):
        raise ValueError("duplicate key")
    return mapping


def _unreadable(message: str, *, line: int | None = None, column: int | None = None) -> Document:
    return Document(value=None, positions={}, problems=(Problem(path="", message=message, line=line, column=column),))


class _Anchored(NamedTuple):
    value: Any
    nodes: int


class _Open:
    """A mapping or a sequence that is being read."""

    __slots__ = ("anchor", "key", "key_position", "merges", "nodes_before", "path", "value")

    def __init__(self, value: dict[str, Any] | list[Any], path: Path, anchor: str | None, nodes_before: int) -> None:
        self.value = value
        self.path = path
        self.anchor = anchor
        self.nodes_before = nodes_before
        self.key: str | None = None
        self.key_position = Position(0, 0)
        self.merges: list[Any] = []


class _Stop(Exception):
    """Reading of this file ends here, with a problem."""


class _Reader:
    """Turns the events of one text into documents."""

    def __init__(self, text: str) -> None:
        self.malformed_at: int | None = None
        self._text = text
        self._reset()

    def _reset(self) -> None:
        self._stack: list[_Open] = []
        self._root: Any = None
        self._positions: dict[Path, Position] = {}
        self._problems: list[Problem] = []
        self._anchors: dict[str, _Anchored] = {}
        self._nodes = 0
        self._from_aliases = 0

    def documents(self) -> Iterator[Document]:
        try:
            for event in yaml.parse(self._text, Loader=yaml.CSafeLoader):
                if isinstance(event, yaml.DocumentStartEvent):
                    self._reset()
                elif isinstance(event, yaml.DocumentEndEvent):
                    if self._root is not None or self._problems:
                        yield self._document()
                elif isinstance(event, yaml.NodeEvent | yaml.CollectionEndEvent):
                    self._read(event)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            place = Position(mark.line + 1, mark.column + 1) if mark else None
            self.malformed_at = place.line if place else 1
            self._problems.append(_syntax_problem(error, place))
            yield self._document()
        except yaml.reader.ReaderError as error:
            line = self._text.count("\n", 0, error.position) + 1
            self._problems.append(Problem(path="", message="control characters are not allowed; remove them", line=line))
            yield self._document()
        except _Stop:
            yield self._document()

    def _document(self) -> Document:
        value = self._stack[0].value if self._stack else self._root  # what was read before it broke off, for its name
        return Document(value=value, positions=self._positions, problems=tuple(self._problems))

    def _read(self, event: Any) -> None:
        position = Position(event.start_mark.line + 1, event.start_mark.column + 1)
        match event:
            case yaml.CollectionEndEvent():
                self._close()
            case yaml.AliasEvent():
                self._alias(event, position)
            case yaml.ScalarEvent() if self._awaits_key():
                self._key(event, position)
            case yaml.ScalarEvent():
                value = self._scalar(event, position)
                self._nodes += 1
                self._place(value, position)
                if event.anchor:
                    self._anchors[event.anchor] = _Anchored(value, 1)
            case _:
                self._open({} if isinstance(event, yaml.MappingStartEvent) else [], event, position)

    def _awaits_key(self) -> bool:
        return bool(self._stack) and isinstance(self._stack[-1].value, dict) and self._stack[-1].key is None

    def _key(self, event: Any, position: Position) -> None:
        top = self._stack[-1]
        top.key, top.key_position = event.value, position
        if event.value in top.value:
            first = self._positions.get((*top.path, event.value))
            where = f"; the first is in line {first.line}" if first else ""
            self._problem((*top.path, event.value), f"key {event.value!r} appears twice{where}. Remove one.", position)

    def _open(self, value: dict[str, Any] | list[Any], event: Any, position: Position) -> None:
        if self._awaits_key():
            self._stop("a key must be a plain text, not a mapping or a list. Text with { } or [ ] needs quotes.", position)
        if len(self._stack) >= MAX_DEPTH:
            self._stop(f"nested more than {MAX_DEPTH} levels deep", position)
        path = self._path_of_next()
        self._nodes += 1
        self._stack.append(_Open(value, path, event.anchor, self._nodes))
        self._mark(path, position)

    def _close(self) -> None:
        done = self._stack.pop()
        if isinstance(done.value, dict):
            for merged in done.merges:
                for name, item in merged.items():
                    done.value.setdefault(name, item)
        if done.anchor:
            self._anchors[done.anchor] = _Anchored(done.value, self._nodes - done.nodes_before + 1)
        self._attach(done.value)

    def _alias(self, event: Any, position: Position) -> None:
        if self._awaits_key():
            self._stop("an alias cannot be a key", position)
        anchored = self._anchors.get(event.anchor)
        if anchored is None:
            self._stop(f"alias *{event.anchor} refers to nothing that was read before it in this document", position)
        self._nodes += anchored.nodes
        self._from_aliases += anchored.nodes
        if self._from_aliases > MAX_NODES_FROM_ALIASES:
            self._stop(f"aliases repeat more than {MAX_NODES_FROM_ALIASES} values", position)
        self._place(anchored.value, position)

    def _place(self, value: Any, position: Position) -> None:
        self._mark(self._path_of_next(), position)
        self._attach(value)

    def _path_of_next(self) -> Path:
        if not self._stack:
            return ()
        top = self._stack[-1]
        return (*top.path, len(top.value)) if isinstance(top.value, list) else (*top.path, top.key or "")

    def _mark(self, path: Path, position: Position) -> None:
        in_mapping = bool(self._stack) and path and isinstance(path[-1], str)
        self._positions.setdefault(path, self._parent(path).key_position if in_mapping else position)

    def _parent(self, path: Path) -> _Open:
        top = self._stack[-1]
        return top if top.path == path[:-1] else self._stack[-2]

    def _attach(self, value: Any) -> None:
        if not self._stack:
            self._root = value
            return
        top = self._stack[-1]
        if isinstance(top.value, list):
            top.value.append(value)
            return
        assert top.key is not None
        if top.key == "<<":
            self._merge(top, value)
        else:
            top.value[top.key] = value
        top.key = None

    def _merge(self, top: _Open, value: Any) -> None:
        sources = value if isinstance(value, list) else [value]
        if all(isinstance(source, dict) for source in sources):
            top.merges += sources
        else:
            self._problem((*top.path, "<<"), "'<<' merges mappings: write << : *anchor", top.key_position)

    def _scalar(self, event: Any, position: Position) -> Any:
        plain = event.style is None or event.style == ""
        if event.tag in (None, "!") or event.implicit[0]:
            if not plain:
                return event.value
            value = plain_value(event.value)
            if value is NOT_REPRESENTABLE:
                self._problem(self._path_of_next(), f"{event.value} is not a number that configuration can hold", position)
                return None
            return value
        return self._tagged(event, position)

    def _tagged(self, event: Any, position: Position) -> Any:
        if event.tag == _TAG + "str":
            return event.value
        value = plain_value(event.value)
        wanted: dict[str, type | tuple[type, ...]] = {"int": int, "float": (int, float), "bool": bool, "null": type(None)}
        accepted = wanted.get(event.tag.removeprefix(_TAG))
        if accepted is None:
            self._problem(self._path_of_next(), f"tag {event.tag} is not supported; remove it", position)
            return None
        if not isinstance(value, accepted):
            self._problem(self._path_of_next(), f"{event.value!r} does not fit its tag {event.tag.replace(_TAG, '!!')}", position)
            return None
        return value

    def _problem(self, path: Path, message: str, position: Position) -> None:
        if len(self._problems) >= MOST:
            raise _Stop
        self._problems.append(msgspec.structs.replace(problem(path, message), line=position.line, column=position.column))

    def _stop(self, message: str, position: Position) -> NoReturn:
        self._problem(self._stack[-1].path if self._stack else (), message, position)
        raise _Stop


def _syntax_problem(error: yaml.MarkedYAMLError, place: Position | None) -> Problem:
    """libyaml's words, with the remedy for the usual slips."""
    said = " ".join(part for part in (error.context, error.problem) if part)
    if "nesting depth" in said:
        said = f"nested more than {MAX_DEPTH} levels deep"
    remedy = ""
    if "'\\t'" in said or "tab character" in said:
        remedy = "; indent with spaces, not tabs"
    elif "mapping values are not allowed" in said:
        remedy = "; a text with ': ' inside needs quotes, or the line above is not finished"
    elif "flow mapping" in said or "flow sequence" in said:
        remedy = "; inside { } and [ ] a text with quotes, commas, colons or brackets must itself be quoted"
    elif "did not find expected key" in said or "could not find expected ':'" in said:
        remedy = "; check the indentation of this line and of the one above, and the quotes"
    elif "did not find expected '-' indicator" in said:
        remedy = "; items of one list begin in the same column"
    line, column = (place.line, place.column) if place else (None, None)
    return Problem(path="", message=f"not valid YAML: {said}{remedy}", line=line, column=column)
