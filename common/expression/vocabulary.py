# SPDX-License-Identifier: Apache-2.0
"""Which attributes may be named, and of which type they are: the standard manifest plus every `attributemanifest` resource."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from common.expression.errors import ExpressionError
from common.expression.manifest import STANDARD
from common.expression.types import ValueType


class Vocabulary(Mapping[str, ValueType]):
    """An immutable map from attribute name to type. All manifests make one vocabulary for the whole mesh, as in Istio 1.4."""

    __slots__ = ("_types",)

    def __init__(self, types: Mapping[str, ValueType]) -> None:
        self._types = dict(types)

    @classmethod
    def standard(cls) -> Vocabulary:
        """The 90 attributes of Istio 1.4's `istioproxy` and `kubernetes` manifests."""
        return _STANDARD

    @classmethod
    def of_names(cls, types: Mapping[str, str]) -> Vocabulary:
        """From attribute name -> type name, e.g. of a JSON file. Raises ExpressionError of kind check for an unknown type."""
        return cls({name: type_named(text, of=name) for name, text in types.items()})

    def with_manifests(self, specs: Iterable[Any]) -> Vocabulary:
        """Add the attributes of `attributemanifest` specs (`spec.attributes[name].valueType`).

        Where two declare one name the later wins; Istio 1.4 left that to chance, so callers sort by namespace and name.
        """
        types = dict(self._types)
        for spec in specs:
            for name, attribute in spec.attributes.items():
                types[name] = type_named(attribute.valueType, of=name)
        return Vocabulary(types)

    def __getitem__(self, name: str) -> ValueType:
        return self._types[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._types)

    def __len__(self) -> int:
        return len(self._types)


def type_named(text: str, *, of: str) -> ValueType:
    """The type that a manifest names, with or without regard to case. Raises ExpressionError of kind check."""
    try:
        type_ = ValueType[str(text).upper()]
    except KeyError:
        type_ = ValueType.VALUE_TYPE_UNSPECIFIED
    if type_ is ValueType.VALUE_TYPE_UNSPECIFIED:
        known = ", ".join(each.name for each in ValueType if each)
        raise ExpressionError("check", f"attribute {of} has unknown value type {text!r}; one of {known}")
    return type_


_STANDARD = Vocabulary(STANDARD)
