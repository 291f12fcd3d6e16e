# SPDX-License-Identifier: Apache-2.0
"""Which kinds exist. Each module of `common.config.kinds` registers its own; nothing else may."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from common.config.nearest import nearest


class Kind(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of configuration: its Kubernetes-shaped names, its MCP collection and the type of its spec.

    `collection` is Istio 1.4's name where 1.4 had the kind (for example `istio/networking/v1alpha3/virtualservices`).
    """

    group: str
    version: str
    name: str
    plural: str
    collection: str
    spec: type[msgspec.Struct]
    cluster_scoped: bool = False
    short_names: tuple[str, ...] = ()
    payload_field: str | None = "spec"
    """Where the typed part stands in the document. None is the document's own top level: Kubernetes writes `Endpoints` so."""
    whole_field: str | None = None
    """The one field of `spec` that holds the typed part of the document whole and is not written in it: what is free-form stays so."""

    @property
    def api_version(self) -> str:
        """`group/version`, or only the version for the core group."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def singular(self) -> str:
        return self.name.lower()


class UnknownKindError(LookupError):
    """No such kind; the message names near misses when there are some."""


class KindRegistry:
    """Kinds by (apiVersion, kind), by collection and by any name that a user may type."""

    def __init__(self) -> None:
        self._by_gvk: dict[tuple[str, str], Kind] = {}
        self._by_collection: dict[str, Kind] = {}
        self._by_word: dict[str, Kind] = {}

    def add(self, kind: Kind) -> Kind:
        """Register a kind. Two kinds may not share a collection or an (apiVersion, kind)."""
        identity = (kind.api_version, kind.name)
        if identity in self._by_gvk or kind.collection in self._by_collection:
            raise ValueError(f"kind {kind.api_version}/{kind.name} is registered twice")
        self._by_gvk[identity] = kind
        self._by_collection[kind.collection] = kind
        for word in (kind.singular, kind.plural, *kind.short_names):
            self._by_word.setdefault(word.lower(), kind)
        return kind

    def find(self, api_version: str, name: str) -> Kind:
        """The kind of a document's apiVersion and kind. Raises UnknownKindError with the nearest known kinds."""
        kind = self._by_gvk.get((api_version, name))
        if kind is None:
            raise UnknownKindError(self._explain(api_version, name))
        return kind

    def by_collection(self, collection: str) -> Kind | None:
        return self._by_collection.get(collection)

    def by_word(self, word: str) -> Kind | None:
        """What a user types: singular, plural or short name, without regard to case."""
        return self._by_word.get(word.lower())

    def __iter__(self) -> Iterator[Kind]:
        return iter(self._by_gvk.values())

    def _explain(self, api_version: str, name: str) -> str:
        same_name = sorted(version for version, known in self._by_gvk if known == name)
        if same_name:
            return f"kind {name} has no version {api_version!r}; use apiVersion {' or '.join(same_name)}"
        near = nearest(name, sorted({known for _, known in self._by_gvk}))
        hint = f"; did you mean {near!r}?" if near else ""
        return f"unknown kind {name!r} of {api_version!r}{hint}"


registry = KindRegistry()
"""All kinds that Fourmast knows."""
