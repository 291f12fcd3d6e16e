# SPDX-License-Identifier: Apache-2.0
"""`fourmast apply`: all documents of all files in one transaction."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import click

from deploy.cli.connection import RefusedError, connect, connection_options
from deploy.cli.errors import BAD_DATA, CliError
from deploy.cli.files import files_option, read_files
from deploy.cli.output import count, output_option, print_value

if TYPE_CHECKING:
    from galley.validation import DocumentResult

_BATCH: Final = "/apis/fourmast.io/v1/batch"


@click.command()
@files_option(required=True)
@click.option("-n", "--namespace", default=None, help="Namespace of resources that name none.  [default: that of the kubeconfig]")
@click.option("--dry-run", is_flag=True, help="Let Galley check and answer, but store nothing.")
@click.option("--lenient", is_flag=True, help="Ignore unknown fields in silence, as Istio 1.4 did.")
@connection_options
@output_option("json", "yaml")
def apply(filenames: tuple[str, ...], namespace: str | None, dry_run: bool, lenient: bool, kubeconfig: str | None, output: str) -> None:
    """Create or change resources, all or nothing: when one is wrong, none is stored.

    Exit code 65 when something is wrong with the files, 1 when the mesh cannot be reached or refuses.
    """
    from galley.validation import validate_files

    files = read_files(filenames)
    texts = dict(files)
    with connect(kubeconfig) as galley:
        where = namespace or galley.target.namespace
        results = validate_files(files, lenient=lenient, default_namespace=where)
        if not results:
            raise CliError(f"there is no resource in {', '.join(texts)}", exit_code=BAD_DATA)
        # What only the mesh knows (manifests, adapters) is for Galley to say; what is no resource at all cannot be sent.
        if any(result.resource is None for result in results):
            _refuse(results, [result.problems for result in results], texts, output)
        items = [{"document": result.value, "source": {"file": result.file, "line": result.line or 0}} for result in results]
        code, answer = galley.exchange("POST", _BATCH, body={"items": items, "namespace": where, "dryRun": dry_run})
    rows = answer.get("items") if isinstance(answer, dict) else None
    if code == 422 and rows:
        _refuse(results, [_problems(row) for row in rows], texts, output)
    if code >= 400 or rows is None:
        raise RefusedError(code, answer if isinstance(answer, dict) else {})
    if output:
        print_value(answer, output)
        return
    for row in rows:
        for warning in row.get("warnings", ()):
            click.secho(f"⚠ {row['resource']}: {warning}", fg="yellow", err=True)
        click.echo(f"{row['resource']} {row['action']}{' (dry run)' if dry_run else ''}")


def _problems(row: Mapping[str, Any]) -> list[Any]:
    from common.config.problem import Problem

    return [Problem(path=each["path"], message=each["message"]) for each in row["problems"]]


def _refuse(results: Sequence[DocumentResult], problems: Sequence[Sequence[Any]], texts: Mapping[str, bytes], output: str) -> None:
    """Show every problem at its line, say that nothing was stored, and end."""
    found = [(result, result.document.located(each)) for result, of_one in zip(results, problems, strict=True) for each in of_one]
    if output:
        rows = [
            {
                "resource": result.name,
                "action": None,
                "problems": [
                    {"path": each.path, "message": each.message, "file": result.file, "line": each.line}
                    for owner, each in found
                    if owner is result
                ],
            }
            for result in results
        ]
        print_value({"items": rows}, output)
    else:
        from deploy.cli.problems import print_problem

        for result, each in found:
            print_problem(result.file, result.name, each, texts)
        click.echo(f"✘ {count(len(found), 'problem')}; nothing was stored", err=True)
    sys.exit(BAD_DATA)
