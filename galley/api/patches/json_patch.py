# SPDX-License-Identifier: Apache-2.0
"""JSON Patch (RFC 6902): operations on places that JSON Pointers (RFC 6901) name; all of them or none."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any, Final

from galley.api.patches.failure import PatchError

MOST_OPERATIONS: Final = 10_000


def json_patch(target: Any, operations: Any) -> Any:
    """The patched value; `target` is left as it was. Raises PatchError, naming the operation that failed."""
    if not isinstance(operations, list):
        raise PatchError("a JSON patch is a list of operations")
    if len(operations) > MOST_OPERATIONS:
        raise PatchError(f"a JSON patch has at most {MOST_OPERATIONS} operations, this one {len(operations)}")
    document = copy.deepcopy(target)
    for number, operation in enumerate(operations):
        try:
            document = _apply(document, operation)
        except PatchError as error:
            raise PatchError(f"operation {number}: {error}") from error
    return document


def _apply(document: Any, operation: Any) -> Any:
    if not isinstance(operation, dict):
        raise PatchError("is not an object")
    name = str(operation.get("op"))
    if name not in _OPERATIONS:
        raise PatchError(f"unknown op {name!r}; expected one of {', '.join(_OPERATIONS)}")
    return _OPERATIONS[name](document, operation)


def _add(document: Any, operation: Mapping[str, Any]) -> Any:
    return _insert(document, _pointer(operation, "path"), copy.deepcopy(_value(operation)))


def _remove(document: Any, operation: Mapping[str, Any]) -> Any:
    return _without(document, _pointer(operation, "path"))


def _replace(document: Any, operation: Mapping[str, Any]) -> Any:
    path, value = _pointer(operation, "path"), copy.deepcopy(_value(operation))
    _get(document, path)
    return _insert(_without(document, path), path, value) if path else value


def _move(document: Any, operation: Mapping[str, Any]) -> Any:
    source, path = _pointer(operation, "from"), _pointer(operation, "path")
    if path[: len(source)] == source and path != source:
        raise PatchError("cannot move a value into itself")
    value = _get(document, source)
    return _insert(_without(document, source), path, value)


def _copy(document: Any, operation: Mapping[str, Any]) -> Any:
    return _insert(document, _pointer(operation, "path"), copy.deepcopy(_get(document, _pointer(operation, "from"))))


def _test(document: Any, operation: Mapping[str, Any]) -> Any:
    path, value = _pointer(operation, "path"), _value(operation)
    found = _get(document, path)
    if not _same(found, value):
        raise PatchError(f"the test of {operation['path']!r} failed: there is {found!r}, not {value!r}")
    return document


_OPERATIONS: Final[Mapping[str, Callable[[Any, Mapping[str, Any]], Any]]] = {
    "add": _add,
    "remove": _remove,
    "replace": _replace,
    "move": _move,
    "copy": _copy,
    "test": _test,
}


def _same(one: Any, other: Any) -> bool:
    """Equality of JSON: true is not 1."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(value, other[name]) for name, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(one == other)


def _value(operation: Mapping[str, Any]) -> Any:
    if "value" not in operation:
        raise PatchError(f"{operation['op']} needs a value")
    return operation["value"]


def _pointer(operation: Mapping[str, Any], field: str) -> tuple[str, ...]:
    text = operation.get(field)
    if not isinstance(text, str) or (text and not text.startswith("/")):
        raise PatchError(f"{field} must be a JSON pointer such as /metadata/labels/app, not {text!r}")
    return tuple(token.replace("~1", "/").replace("~0", "~") for token in text.split("/")[1:])


def _written(path: tuple[str, ...]) -> str:
    return "/" + "/".join(token.replace("~", "~0").replace("/", "~1") for token in path)


def _get(document: Any, path: tuple[str, ...]) -> Any:
    for depth, token in enumerate(path):
        here = path[: depth + 1]
        if isinstance(document, dict):
            if token not in document:
                raise PatchError(f"{_written(here)!r} does not exist")
            document = document[token]
        elif isinstance(document, list):
            document = document[_index(token, len(document) - 1, here)]
        else:
            raise PatchError(f"{_written(here)!r} does not exist")
    return document


def _index(token: str, last: int, path: tuple[str, ...]) -> int:
    if not (token.isascii() and token.isdigit()) or (len(token) > 1 and token[0] == "0") or len(token) > 9 or int(token) > last:
        raise PatchError(f"{_written(path)!r} does not exist: the list has {last + 1} items")
    return int(token)


def _insert(document: Any, path: tuple[str, ...], value: Any) -> Any:
    if not path:
        return value
    parent = _get(document, path[:-1])
    if isinstance(parent, dict):
        parent[path[-1]] = value
    elif isinstance(parent, list):
        place = len(parent) if path[-1] == "-" else _index(path[-1], len(parent), path)
        parent.insert(place, value)
    else:
        raise PatchError(f"{_written(path[:-1])!r} is neither an object nor a list")
    return document


def _without(document: Any, path: tuple[str, ...]) -> Any:
    if not path:
        return None
    _get(document, path)
    parent = _get(document, path[:-1])
    if isinstance(parent, dict):
        del parent[path[-1]]
    else:
        del parent[int(path[-1])]
    return document
