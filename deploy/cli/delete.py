# SPDX-License-Identifier: Apache-2.0
"""`fourmast delete`: by kind and name, or everything that files name; all or nothing."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final

import click

from deploy.cli.connection import connect, connection_options
from deploy.cli.errors import BAD_DATA, FAILED, CliError
from deploy.cli.files import files_option, read_files
from deploy.cli.mesh_resources import kind_named

if TYPE_CHECKING:
    from common.config.registry import Kind

_DELETE: Final = "/apis/fourmast.io/v1/delete"


@click.command()
@click.argument("kind", required=False)
@click.argument("names", nargs=-1, metavar="[NAME]...")
@files_option(required=False)
@click.option("-n", "--namespace", default=None, help="Namespace to look in.  [default: that of the kubeconfig]")
@click.option("--ignore-not-found", is_flag=True, help="What is not there counts as deleted.")
@click.option("--dry-run", is_flag=True, help="Let Galley check and answer, but delete nothing.")
@connection_options
def delete(
    kind: str | None,
    names: tuple[str, ...],
    filenames: tuple[str, ...],
    namespace: str | None,
    ignore_not_found: bool,
    dry_run: bool,
    kubeconfig: str | None,
) -> None:
    """Delete resources in one transaction: KIND NAME…, or all that the files name (in reverse order).

    What is not there does not keep the others; exit code 1 says so.
    """
    if bool(kind) == bool(filenames):
        raise click.UsageError("give either KIND NAME… or -f FILE")
    if kind and not names:
        raise click.UsageError(f"name the {kind} to delete")
    with connect(kubeconfig) as galley:
        where = namespace or galley.target.namespace
        wanted = [_target(kind_named(kind), where, name) for name in names] if kind else _from_files(filenames, where)
        answer = galley.request("POST", _DELETE, body={"items": wanted, "missingOk": True, "dryRun": dry_run})
    missing = False
    for row in answer["items"]:
        if row["action"] == "deleted":
            click.echo(f"{row['resource']} deleted{' (dry run)' if dry_run else ''}")
        else:
            missing = True
            click.echo(f"{row['resource']} not found", err=True)
    sys.exit(FAILED if missing and not ignore_not_found else 0)


def _from_files(filenames: tuple[str, ...], namespace: str) -> list[dict[str, Any]]:
    from galley.validation import validate_files

    targets = []
    for result in reversed(validate_files(read_files(filenames), lenient=True, default_namespace=namespace)):
        if result.resource is None:
            raise CliError(f"{result.file}:{result.line or 1}: {result.problems[0]}", exit_code=BAD_DATA)
        targets.append(_target(result.resource.kind, result.resource.namespace, result.resource.name))
    return targets


def _target(kind: Kind, namespace: str, name: str) -> dict[str, Any]:
    return {"apiVersion": kind.api_version, "kind": kind.name, "namespace": "" if kind.cluster_scoped else namespace, "name": name}
