# SPDX-License-Identifier: Apache-2.0
"""Kinds and resources as the command line names and fetches them."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from typing import Any

from common.config.registry import Kind, registry
from common.config.resource import DecodeError, Resource, from_document
from deploy.cli.connection import Connection
from deploy.cli.errors import CliError


def kind_named(word: str) -> Kind:
    """The kind that a user means by singular, plural or short name. Raises CliError with a near miss."""
    kind = registry.by_word(word)
    if kind is None:
        words = [each for known in registry for each in (known.singular, known.plural, *known.short_names)]
        near = difflib.get_close_matches(word.lower(), words, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(sorted(known.plural for known in registry))}"
        raise CliError(f"unknown kind {word!r}; {hint}", exit_code=2)
    return kind


def kind_and_name(words: Sequence[str]) -> tuple[Kind, str]:
    """What `KIND NAME` or `KIND/NAME` means. Raises CliError (usage)."""
    parts = words[0].split("/", 1) if len(words) == 1 else list(words)
    if len(parts) != 2 or not all(parts):
        raise CliError("say which resource, as KIND/NAME or KIND NAME", exit_code=2)
    return kind_named(parts[0]), parts[1]


def path_of(kind: Kind, namespace: str | None, name: str | None = None) -> str:
    """The URL path of an object or, without `name`, of a collection. `namespace` None means all."""
    path = f"/apis/{kind.group}/{kind.version}" if kind.group else f"/api/{kind.version}"
    if namespace is not None and not kind.cluster_scoped:
        path += f"/namespaces/{namespace}"
    path += f"/{kind.plural}"
    return f"{path}/{name}" if name is not None else path


def all_resources(galley: Connection) -> Iterator[Resource[Any]]:
    """Everything that the caller may see, of every kind."""
    for kind in registry:
        for document in galley.get(path_of(kind, None))["items"]:
            try:
                yield from_document({"apiVersion": kind.api_version, "kind": kind.name, **document})
            except DecodeError as error:
                raise CliError(f"Galley holds a {kind.name} that this version cannot read: {error}") from error
