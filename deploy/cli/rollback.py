# SPDX-License-Identifier: Apache-2.0
"""`fourmast rollback`: back to an earlier revision, as a new one."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import click

from deploy.cli.connection import RefusedError, connect, connection_options
from deploy.cli.errors import BAD_DATA, CliError
from deploy.cli.mesh_resources import kind_named
from deploy.cli.output import output_option, print_value
from deploy.cli.revisions import ROLLBACK, before_last, history_of


@click.command()
@click.argument("kind", required=False)
@click.argument("name", required=False)
@click.option("--to-revision", type=click.IntRange(min=0), default=None, help="The revision to go back to; 0 is before everything.")
@click.option("--all", "everything", is_flag=True, help="Bring back everything (with -n: of that namespace) as it was at --to-revision.")
@click.option("-n", "--namespace", default=None, help="Namespace to look in.  [default: that of the kubeconfig]")
@click.option("--dry-run", is_flag=True, help="Let Galley check and answer, but store nothing.")
@connection_options
@output_option("json", "yaml")
def rollback(
    kind: str | None,
    name: str | None,
    to_revision: int | None,
    everything: bool,
    namespace: str | None,
    dry_run: bool,
    kubeconfig: str | None,
    output: str,
) -> None:
    """Bring KIND NAME back to how it was before its last change or at --to-revision; or all objects, all or nothing.

    What comes back is checked by the rules of today. History only grows: a rollback is a new revision, and can be rolled back too.
    """
    if everything == bool(kind) or (kind and not name):
        raise click.UsageError("give either KIND NAME or --all")
    if everything and to_revision is None:
        raise click.UsageError("--all needs --to-revision; `fourmast history` lists them")
    with connect(kubeconfig) as galley:
        body: dict[str, Any] = {"revision": to_revision, "namespace": namespace or "", "dryRun": dry_run}
        if kind and name:
            wanted = kind_named(kind)
            where = namespace or galley.target.namespace
            known = history_of(galley, wanted, where, name)
            body |= {"kind": wanted.plural, "name": name, "namespace": "" if wanted.cluster_scoped else where}
            if to_revision is None:
                body["revision"] = before_last(known)
        code, answer = galley.exchange("POST", ROLLBACK, body=body)
    rows = answer.get("items") if isinstance(answer, dict) else None
    if code == 422 and rows:
        _refuse(rows, output)
    if code >= 400 or rows is None:
        raise RefusedError(code, answer if isinstance(answer, dict) else {})
    if output:
        print_value(answer, output)
        return
    for row in rows:
        click.echo(f"{row['resource']} {row['action']}{' (dry run)' if dry_run else ''}")
    if not rows:
        click.echo(f"Nothing has changed since revision {body['revision']}.")


def _refuse(rows: Sequence[Mapping[str, Any]], output: str) -> None:
    if output:
        print_value({"items": list(rows)}, output)
        sys.exit(BAD_DATA)
    for row in rows:
        for problem in row["problems"]:
            click.echo(f"{row['resource']}: {problem['path']}: {problem['message']}", err=True)
    raise CliError("what would come back breaks a rule of today; nothing was stored", exit_code=BAD_DATA)
