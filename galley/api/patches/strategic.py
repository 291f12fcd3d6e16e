# SPDX-License-Identifier: Apache-2.0
"""Kubernetes' strategic merge patch: a merge patch that can also change single elements of a list.

Elements of a list with a merge key are matched by it; all other lists are replaced. In the patch, fields that begin with `$` are orders:
`$patch: replace | delete`, `$retainKeys`, `$deleteFromPrimitiveList/FIELD`, `$setElementOrder/FIELD`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from common.config.kinds.core import SERVICE
from common.config.registry import Kind
from galley.api.patches.failure import PatchError, check_depth

MERGE_KEYS: Final[Mapping[tuple[str, str], str]] = {(SERVICE.collection, "spec.ports"): "port"}
"""By collection and path: the field that identifies the elements of a list. Istio's kinds have no such list: order means something there."""

PRIMITIVE_SETS: Final = frozenset({"metadata.finalizers"})
"""Lists of texts that are merged as sets, in every kind."""

_DELETE_FROM, _ORDER, _PATCH, _RETAIN = "$deleteFromPrimitiveList/", "$setElementOrder/", "$patch", "$retainKeys"


def strategic_merge_patch(kind: Kind, target: Any, patch: Any) -> Any:
    """The patched value; `target` is left as it was. Raises PatchError for orders that make no sense."""
    if not isinstance(patch, dict):
        raise PatchError("a strategic merge patch is an object")
    return _object(kind, target, patch, "", 0)


def _object(kind: Kind, target: Any, patch: Mapping[str, Any], path: str, depth: int) -> dict[str, Any]:
    check_depth(depth)
    plain = {name: value for name, value in patch.items() if not name.startswith("$")}
    order = patch.get(_PATCH, "merge")
    if order == "delete":
        return {}
    if order not in ("merge", "replace"):
        raise PatchError(f"{path or 'the patch'}: $patch is {order!r}; expected merge, replace or delete")
    result: dict[str, Any] = dict(target) if isinstance(target, dict) and order == "merge" else {}
    if (retained := patch.get(_RETAIN)) is not None:
        names = _texts(retained, path, _RETAIN)
        result = {name: value for name, value in result.items() if name in names}
    for name, value in plain.items():
        below = f"{path}.{name}" if path else name
        if value is None:
            result.pop(name, None)
        elif isinstance(value, dict):
            result[name] = _object(kind, result.get(name), value, below, depth + 1)
        elif isinstance(value, list):
            result[name] = _list(kind, result.get(name), value, below, depth + 1)
        else:
            result[name] = value
    for name, value in patch.items():
        _apply_list_order(kind, result, name, value, path)
    return result


def _apply_list_order(kind: Kind, result: dict[str, Any], name: str, value: Any, path: str) -> None:
    """`$deleteFromPrimitiveList/x` and `$setElementOrder/x`, which stand beside the list `x`."""
    if name.startswith(_DELETE_FROM):
        field = name.removeprefix(_DELETE_FROM)
        gone = _texts(value, path, name)
        result[field] = [item for item in result.get(field) or () if item not in gone]
    elif name.startswith(_ORDER):
        field = name.removeprefix(_ORDER)
        if isinstance(result.get(field), list):
            key = _merge_key(kind, f"{path}.{field}" if path else field)
            result[field] = _ordered(result[field], value, key)
    elif name.startswith("$") and name not in (_PATCH, _RETAIN):
        raise PatchError(f"{path or 'the patch'}: unknown order {name!r}")


def _list(kind: Kind, target: Any, patch: list[Any], path: str, depth: int) -> list[Any]:
    key = _merge_key(kind, path)
    present = target if isinstance(target, list) else []
    if path in PRIMITIVE_SETS:
        return [*present, *(item for item in patch if item not in present)]
    if key is None:
        return patch
    result = list(present)
    if any(isinstance(item, dict) and item.get(_PATCH) == "replace" and len(item) == 1 for item in patch):
        result = []
    for item in patch:
        if not isinstance(item, dict):
            raise PatchError(f"{path}: {item!r} is not an object")
        if item.get(_PATCH) == "replace" and len(item) == 1:
            continue
        if key not in item:
            raise PatchError(f"{path}: an element has no {key}, which says which one is meant")
        found = next((place for place, other in enumerate(result) if isinstance(other, dict) and other.get(key) == item[key]), None)
        if item.get(_PATCH) == "delete":
            if found is not None:
                del result[found]
        elif found is None:
            result.append(_object(kind, None, item, path, depth))
        else:
            result[found] = _object(kind, result[found], item, path, depth)
    return result


def _ordered(items: list[Any], order: Any, key: str | None) -> list[Any]:
    """Those that the order names come in its order; the others stay where they are, between them, as far as that is possible."""
    if not isinstance(order, list):
        raise PatchError(f"{_ORDER}: expected a list, not {order!r}")
    wanted = [element.get(key) if isinstance(element, dict) and key else element for element in order]

    def identity(item: Any) -> Any:
        return item.get(key) if isinstance(item, dict) and key else item

    named = sorted((item for item in items if identity(item) in wanted), key=lambda item: wanted.index(identity(item)))
    following = iter(named)
    return [next(following) if identity(item) in wanted else item for item in items]


def _merge_key(kind: Kind, path: str) -> str | None:
    return MERGE_KEYS.get((kind.collection, path))


def _texts(value: Any, path: str, order: str) -> Sequence[Any]:
    if not isinstance(value, list):
        raise PatchError(f"{path or 'the patch'}: {order} must be a list, not {value!r}")
    return value
