# SPDX-License-Identifier: Apache-2.0
"""`fourmast delete`: by kind and name, or everything that files name."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from deploy.cli.connection import Connection, RefusedError, connect, connection_options
from deploy.cli.errors import BAD_DATA, FAILED, CliError
from deploy.cli.files import files_option, read_files
from deploy.cli.mesh_resources import kind_named, path_of

if TYPE_CHECKING:
    from common.config.registry import Kind

_NOT_FOUND = 404


@click.command()
@click.argument("kind", required=False)
@click.argument("names", nargs=-1, metavar="[NAME]...")
@files_option(required=False)
@click.option("-n", "--namespace", default=None, help="Namespace to look in.  [default: that of the kubeconfig]")
@click.option("--ignore-not-found", is_flag=True, help="What is not there counts as deleted.")
@connection_options
def delete(
    kind: str | None,
    names: tuple[str, ...],
    filenames: tuple[str, ...],
    namespace: str | None,
    ignore_not_found: bool,
    kubeconfig: str | None,
) -> None:
    """Delete resources: KIND NAME…, or all that the files name (in reverse order)."""
    if bool(kind) == bool(filenames):
        raise click.UsageError("give either KIND NAME… or -f FILE")
    if kind and not names:
        raise click.UsageError(f"name the {kind} to delete")
    with connect(kubeconfig) as galley:
        where = namespace or galley.target.namespace
        wanted = [(kind_named(kind), where, name) for name in names] if kind else _from_files(filenames, where)
        missing = [target for target in wanted if not _delete(galley, *target)]
    sys.exit(FAILED if missing and not ignore_not_found else 0)


def _from_files(filenames: tuple[str, ...], namespace: str) -> list[tuple[Kind, str, str]]:
    from galley.validation import validate_files

    results = validate_files(read_files(filenames), lenient=True, default_namespace=namespace)
    targets: list[tuple[Kind, str, str]] = []
    for result in reversed(results):
        if result.resource is None:
            raise CliError(f"{result.file}:{result.line or 1}: {result.problems[0]}", exit_code=BAD_DATA)
        targets.append((result.resource.kind, result.resource.namespace, result.resource.name))
    return targets


def _delete(galley: Connection, kind: Kind, namespace: str, name: str) -> bool:
    """Delete one and say so; False when it was not there."""
    shown = f"{kind.name} {name if kind.cluster_scoped else f'{namespace}/{name}'}"
    code, answer = galley.exchange("DELETE", path_of(kind, namespace, name))
    if code == _NOT_FOUND:
        click.echo(f"{shown} not found", err=True)
        return False
    if code >= 400:
        raise RefusedError(code, answer if isinstance(answer, dict) else {})
    click.echo(f"{shown} deleted")
    return True
