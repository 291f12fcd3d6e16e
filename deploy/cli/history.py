# SPDX-License-Identifier: Apache-2.0
"""`fourmast history`: who changed what, when, and what it looked like."""

from __future__ import annotations

from collections.abc import Sequence

import click

from deploy.cli.connection import connect, connection_options
from deploy.cli.errors import CliError
from deploy.cli.mesh_resources import kind_named
from deploy.cli.output import output_option, print_table, print_value
from deploy.cli.revisions import Revision, at_revision, history_of, revisions_of, shown


@click.command()
@click.argument("kind", required=False)
@click.argument("name", required=False)
@click.option("-n", "--namespace", default=None, help="Namespace to look in.  [default: that of the kubeconfig]")
@click.option("-A", "--all-namespaces", is_flag=True, help="Look in all namespaces.")
@click.option("--revision", type=click.IntRange(min=1), default=None, help="Print the object as it was at this revision.")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True, help="How many changes to list, newest first.")
@connection_options
@output_option("json", "yaml", "wide")
def history(
    kind: str | None,
    name: str | None,
    namespace: str | None,
    all_namespaces: bool,
    revision: int | None,
    limit: int,
    kubeconfig: str | None,
    output: str,
) -> None:
    """List the changes of one object, of all of a KIND, or of everything, newest first.

    With --revision the object is printed as it was then, ready to be applied again.
    """
    wanted = kind_named(kind) if kind else None
    if name and all_namespaces:
        raise CliError("a name is unique in its namespace only; use -n instead of -A", exit_code=2)
    if revision is not None and (wanted is None or name is None):
        raise CliError("--revision needs KIND and NAME", exit_code=2)
    with connect(kubeconfig) as galley:
        where = namespace or galley.target.namespace
        if wanted is not None and name is not None:
            found = history_of(galley, wanted, where, name)
        else:
            found = revisions_of(
                galley, wanted, None if all_namespaces or (kind is None and namespace is None) else where, None, limit=limit
            )
    if revision is not None and wanted is not None and name is not None:
        then = at_revision(found, revision)
        if then is None:
            raise CliError(f"{shown(wanted, where, name)} did not exist at revision {revision}")
        print_value(then["object"], output if output in ("json", "yaml") else "yaml")
        return
    found = found[:limit]
    if output in ("json", "yaml"):
        print_value(found, output)
    elif not found:
        click.echo("Nothing was changed yet.", err=True)
    else:
        _print(found, with_resource=name is None, wide=output == "wide")


def _print(found: Sequence[Revision], *, with_resource: bool, wide: bool) -> None:
    columns = ["REVISION", "AT", "ACTION", *(["RESOURCE"] if with_resource else []), "BY", "FROM", *(["TRACE"] if wide else [])]
    rows = [
        [
            str(each["revision"]),
            each["at"],
            each["action"],
            *([each["resource"]] if with_resource else []),
            each["actor"],
            each["source"],
            *([each["traceparent"]] if wide else []),
        ]
        for each in found
    ]
    print_table(columns, rows)
