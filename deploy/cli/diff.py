# SPDX-License-Identifier: Apache-2.0
"""`fourmast diff`: what `apply` would change."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import click

from deploy.cli.connection import Connection, RefusedError, connect, connection_options
from deploy.cli.errors import BAD_DATA, FAILED, CliError
from deploy.cli.files import files_option, read_files
from deploy.cli.mesh_resources import path_of
from deploy.cli.output import as_yaml

if TYPE_CHECKING:
    from common.config.resource import Resource

_NOT_FOUND: Final = 404
_OF_THE_SERVER: Final = ("creationTimestamp", "generation", "resourceVersion", "uid", "managedFields")
_ALLOCATED: Final = {"Service": "clusterIP", "ServiceEntry": "addresses"}
"""What Galley fills in when a file leaves it open."""
_COLOURS: Final = {"+": "green", "-": "red", "@": "cyan"}


@click.command()
@files_option(required=True)
@click.option("-n", "--namespace", default=None, help="Namespace of resources that name none.  [default: that of the kubeconfig]")
@connection_options
def diff(filenames: tuple[str, ...], namespace: str | None, kubeconfig: str | None) -> None:
    """Compare files with the mesh. Exit code 0 when they are the same, 1 when `apply` would change something."""
    from galley.validation import validate_files

    files = read_files(filenames)
    differs = False
    with connect(kubeconfig) as galley:
        results = validate_files(files, default_namespace=namespace or galley.target.namespace)
        for result in results:
            if result.resource is None:
                raise CliError(f"{result.file}:{result.problems[0].line or 1}: {result.problems[0]}", exit_code=BAD_DATA)
            differs |= _print_difference(galley, result.resource, result.file)
    sys.exit(FAILED if differs else 0)


def _print_difference(galley: Connection, resource: Resource[Any], file: str) -> bool:
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
    changes = list(difflib.unified_diff(there, _lines(here), f"mesh: {resource.key}", f"{file}: {resource.key}"))
    for line in changes:
        click.secho(line.rstrip("\n"), fg=_COLOURS.get(line[0]))
    return bool(changes)


def _lines(document: Mapping[str, Any]) -> list[str]:
    """The document as YAML in a fixed order, without what only the server writes."""
    metadata = {name: value for name, value in document["metadata"].items() if name not in _OF_THE_SERVER}
    return as_yaml({**document, "metadata": metadata}, sort_keys=True).splitlines(keepends=True)
