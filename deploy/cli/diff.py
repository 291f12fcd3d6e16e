# SPDX-License-Identifier: Apache-2.0
"""`fourmast diff`: what `apply` would change, or what changed between two revisions."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import click

from deploy.cli.connection import Connection, RefusedError, connect, connection_options
from deploy.cli.errors import BAD_DATA, FAILED, CliError
from deploy.cli.files import files_option, read_files
from deploy.cli.mesh_resources import kind_named, path_of
from deploy.cli.output import as_yaml
from deploy.cli.revisions import Revision, at_revision, before_last, history_of

if TYPE_CHECKING:
    from common.config.registry import Kind
    from common.config.resource import Resource

_NOT_FOUND: Final = 404
_OF_THE_SERVER: Final = ("creationTimestamp", "generation", "resourceVersion", "uid", "managedFields")
_ALLOCATED: Final = {"Service": "clusterIP", "ServiceEntry": "addresses"}
"""What Galley fills in when a file leaves it open."""
_COLOURS: Final = {"+": "green", "-": "red", "@": "cyan"}


@click.command()
@click.argument("kind", required=False)
@click.argument("name", required=False)
@files_option(required=False)
@click.option(
    "--from", "older", type=click.IntRange(min=0), default=None, help="Revision to compare from.  [default: before the last change]"
)
@click.option("--to", "newer", type=click.IntRange(min=0), default=None, help="Revision to compare to.  [default: now]")
@click.option("-n", "--namespace", default=None, help="Namespace of resources that name none.  [default: that of the kubeconfig]")
@connection_options
def diff(
    kind: str | None,
    name: str | None,
    filenames: tuple[str, ...],
    older: int | None,
    newer: int | None,
    namespace: str | None,
    kubeconfig: str | None,
) -> None:
    """Compare files with the mesh (-f FILE), or two revisions of KIND NAME.

    Exit code 0 when they are the same, 1 when they differ - for files: when `apply` would change something.
    """
    if bool(kind) == bool(filenames) or (kind and not name):
        raise click.UsageError("give either KIND NAME or -f FILE")
    if filenames and (older is not None or newer is not None):
        raise click.UsageError("--from and --to compare revisions of KIND NAME, not files")
    with connect(kubeconfig) as galley:
        where = namespace or galley.target.namespace
        if kind and name:
            differs = _between_revisions(galley, kind_named(kind), where, name, older, newer)
        else:
            differs = _with_files(galley, filenames, where)
    sys.exit(FAILED if differs else 0)


def _with_files(galley: Connection, filenames: tuple[str, ...], namespace: str) -> bool:
    from galley.validation import validate_files

    differs = False
    for result in validate_files(read_files(filenames), default_namespace=namespace):
        if result.resource is None:
            raise CliError(f"{result.file}:{result.problems[0].line or 1}: {result.problems[0]}", exit_code=BAD_DATA)
        differs |= _with_file(galley, result.resource, result.file)
    return differs


def _with_file(galley: Connection, resource: Resource[Any], file: str) -> bool:
    from common.config.resource import from_document, to_document

    path = path_of(resource.kind, resource.namespace, resource.name)
    code, document = galley.exchange("GET", path)
    here = to_document(resource)
    there: list[str] = []
    if code != _NOT_FOUND:
        if code >= 400:
            raise RefusedError(code, document if isinstance(document, dict) else {})
        present = to_document(from_document(document))
        field = _ALLOCATED.get(resource.kind.name)
        if field is not None and field not in here["spec"]:
            present["spec"].pop(field, None)
        there = _lines(present)
    return _print_difference(there, _lines(here), f"mesh: {resource.key}", f"{file}: {resource.key}")


def _between_revisions(galley: Connection, kind: Kind, namespace: str, name: str, older: int | None, newer: int | None) -> bool:
    known = history_of(galley, kind, namespace, name)
    first = before_last(known) if older is None else older
    last = int(known[0]["revision"]) if newer is None else newer
    about = known[0]["resource"]
    return _print_difference(
        _of_revision(at_revision(known, first)),
        _of_revision(at_revision(known, last)),
        f"revision {first}: {about}",
        f"revision {last}: {about}",
    )


def _of_revision(event: Revision | None) -> list[str]:
    return _lines(event["object"]) if event is not None else []


def _print_difference(before: Sequence[str], after: Sequence[str], before_name: str, after_name: str) -> bool:
    changes = list(difflib.unified_diff(before, after, before_name, after_name))
    for line in changes:
        click.secho(line.rstrip("\n"), fg=_COLOURS.get(line[0]))
    return bool(changes)


def _lines(document: Mapping[str, Any]) -> list[str]:
    """The document as YAML in a fixed order, without what only the server writes."""
    metadata = {name: value for name, value in document["metadata"].items() if name not in _OF_THE_SERVER}
    return as_yaml({**document, "metadata": metadata}, sort_keys=True).splitlines(keepends=True)
