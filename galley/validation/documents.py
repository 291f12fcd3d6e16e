# SPDX-License-Identifier: Apache-2.0
"""The one way from bytes to checked resources. Galley's server, its directory source and the command line all come through here."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from common.config.accept import kind_of, structure
from common.config.hygiene import impurities
from common.config.problem import Path, Problem, bounded, parse_path, problem
from common.config.registry import Kind, UnknownKindError
from common.config.resource import DecodeError, Resource, ResourceKey, from_document
from common.config.yaml_reading import Document, read_documents
from common.mesh.names import ROOT_NAMESPACE
from galley.validation.context import STANDARD, Context
from galley.validation.rules import validate


class DocumentResult(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """What became of one document. `resource` is there when its structure is right; it may be stored when there are no problems."""

    name: str
    """For people: `VirtualService default/reviews`, or as much of it as could be read."""
    file: str
    document: Document
    value: Any = None
    """The document in normal form, as plain values."""
    resource: Resource[Any] | None = None
    problems: tuple[Problem, ...] = ()

    @property
    def is_valid(self) -> bool:
        return self.resource is not None and not self.problems

    @property
    def line(self) -> int | None:
        """Where the document begins."""
        begin = self.document.begin
        return begin.line if begin else None

    def with_problems(self, found: Iterable[Problem]) -> DocumentResult:
        """The same result with more problems, all of them with their lines and in the order of the file."""
        located = [self.document.located(each) for each in (*self.problems, *found)]
        located.sort(key=lambda each: (each.line or 0, each.column or 0))
        return msgspec.structs.replace(self, problems=tuple(located))

    def without_problems(self) -> DocumentResult:
        """The same document, not judged yet."""
        return msgspec.structs.replace(self, problems=())


def validate_documents(
    text: bytes,
    filename: str,
    *,
    lenient: bool = False,
    default_namespace: str = "default",
    context: Context = STANDARD,
) -> list[DocumentResult]:
    """Read and check all documents of one file: all problems of all documents, not the first."""
    return validate_files([(filename, text)], lenient=lenient, default_namespace=default_namespace, context=context)


def validate_files(
    files: Iterable[tuple[str, bytes]],
    *,
    lenient: bool = False,
    default_namespace: str = "default",
    context: Context = STANDARD,
) -> list[DocumentResult]:
    """Read and check files together: manifests, adapters and templates of one hold for all, and nothing may be defined twice."""
    results = [
        result
        for filename, text in files
        for document in read_documents(text)
        for part in _items(document)
        for result in (_structure(part, filename, lenient, default_namespace),)
    ]
    known = context.with_resources(result.resource for result in results if result.resource is not None)
    return list(_without_doubles(result.with_problems(_rules(result, known)) for result in results))


def _rules(result: DocumentResult, context: Context) -> Iterable[Problem]:
    """The semantic problems; also those of the sound parts of a document whose structure is wrong elsewhere."""
    if result.resource is not None:
        return validate(result.resource, context)
    wrong = [parse_path(found.path) for found in result.problems]
    if result.document.problems or not isinstance(result.value, dict) or not all(wrong):
        return ()
    try:
        sound = from_document(_without(result.value, wrong))
    except (DecodeError, UnknownKindError):
        return ()
    return [found for found in validate(sound, context) if not _is_consequence(parse_path(found.path), wrong, result.value)]


def _without(value: dict[str, Any], paths: Iterable[Path]) -> dict[str, Any]:
    """A copy without the fields at these paths. List items stay: leaving one out would shift the others."""
    copied = copy.deepcopy(value)
    for path in paths:
        if _exists(path, copied):  # one around it may have gone already
            owner: Any = copied
            for step in path[:-1]:
                owner = owner[step]
            if isinstance(owner, dict):
                del owner[path[-1]]
    return copied


def _is_consequence(path: Path, wrong: Iterable[Path], value: Any) -> bool:
    """Whether a problem there may only come from what was left out: around it, in it, or a missing neighbour of a misspelt field."""
    return any(
        each[: len(path)] == path or path[: len(each)] == each or (path[:-1] == each[:-1] and not _exists(path, value)) for each in wrong
    )


def _exists(path: Path, value: Any) -> bool:
    for step in path:
        try:
            value = value[step]
        except (KeyError, IndexError, TypeError):
            return False
    return True


def validate_value(
    value: Any, *, lenient: bool = False, default_namespace: str = "default", context: Context = STANDARD
) -> tuple[Resource[Any] | None, tuple[Problem, ...]]:
    """Check one document that is already values (a request body). The resource is None when its structure is wrong."""
    result = _structure(Document(value=value, positions={}), "", lenient, default_namespace)
    if result.resource is None:
        return None, (*result.problems, *_rules(result, context))
    return result.resource, validate(result.resource, context.with_resources([result.resource]))


def _items(document: Document) -> Iterator[Document]:
    """A `List` of kubectl stands for its items."""
    value = document.value
    if not isinstance(value, dict) or value.get("kind") != "List" or not isinstance(value.get("items"), list):
        yield document
        return
    for index, item in enumerate(value["items"]):
        prefix: Path = ("items", index)
        positions = {path[2:]: place for path, place in document.positions.items() if path[:2] == prefix}
        yield Document(value=item, positions=positions, problems=document.problems if index == 0 else ())


def _structure(document: Document, file: str, lenient: bool, default_namespace: str) -> DocumentResult:
    if document.problems:
        return DocumentResult(name=_name(document.value), file=file, document=document, problems=document.problems)
    if impure := bounded(impurities(document.value)):
        result = DocumentResult(name=printable(_name(document.value)), file=file, document=document)
        return result.with_problems(impure)
    kind = kind_of(document.value)
    if isinstance(kind, Problem):
        return DocumentResult(name=_name(document.value), file=file, document=document, problems=(document.located(kind),))
    in_namespace = _with_namespace(kind, document.value, default_namespace)
    value, problems = structure(kind, in_namespace, lenient=lenient)
    resource: Resource[Any] | None = None
    if not problems:
        try:
            resource = from_document(value)
        except DecodeError as error:  # the schema let pass what the types refuse
            problems = (problem((), str(error)),)
    name = str(resource.key) if resource is not None else _name(value)
    result = DocumentResult(name=name, file=file, document=document, value=value, resource=resource)
    return result.with_problems(problems)


def _with_namespace(kind: Kind, value: dict[str, Any], default_namespace: str) -> dict[str, Any]:
    metadata = value.get("metadata")
    if kind.cluster_scoped or not isinstance(metadata, dict) or metadata.get("namespace"):
        return value
    namespace = ROOT_NAMESPACE if kind.name == "MeshConfig" else default_namespace
    return {**value, "metadata": {**metadata, "namespace": namespace}}


def _name(value: Any) -> str:
    if not isinstance(value, Mapping):
        return "document"
    metadata = value.get("metadata")
    known: Mapping[str, Any] = metadata if isinstance(metadata, Mapping) else {}
    name = "/".join(str(known[part]) for part in ("namespace", "name") if known.get(part))
    return " ".join(part for part in (str(value.get("kind") or "document"), name) if part)


def printable(text: str) -> str:
    """The text with escapes instead of what a terminal or an encoder would choke on."""
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)


def _without_doubles(results: Iterable[DocumentResult]) -> Iterator[DocumentResult]:
    first: dict[ResourceKey, DocumentResult] = {}
    for result in results:
        if result.resource is not None:
            earlier = first.setdefault(result.resource.key, result)
            if earlier is not result:
                where = f"{earlier.file}:{earlier.line}" if earlier.line else earlier.file
                result = result.with_problems([problem(("metadata", "name"), f"{result.name} is defined twice; first in {where}")])
        yield result
