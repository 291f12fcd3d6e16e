# SPDX-License-Identifier: Apache-2.0
"""`fourmast validate`: everything that Galley would say about single resources, without a mesh or by asking one."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import click

from deploy.cli.connection import RefusedError, connect, connection_options
from deploy.cli.errors import BAD_DATA
from deploy.cli.files import files_option, read_files
from deploy.cli.output import count, output_option, print_value

if TYPE_CHECKING:
    from galley.validation import DocumentResult

_BATCH: Final = "/apis/fourmast.io/v1/batch"


@click.command()
@files_option(required=True)
@click.option("-n", "--namespace", default=None, help="Namespace of resources that name none.  [default: default, or the kubeconfig's]")
@click.option("--lenient", is_flag=True, help="Ignore unknown fields in silence, as Istio 1.4 did.")
@click.option("--server", is_flag=True, help="Ask the running mesh, which also knows its own adapters, templates and attributes.")
@connection_options
@output_option("json", "yaml")
def validate(filenames: tuple[str, ...], namespace: str | None, lenient: bool, server: bool, kubeconfig: str | None, output: str) -> None:
    """Check files. Every mistake of every document is named with file, line, field and remedy; nothing is stored.

    Exit code 0 when all resources are valid, 65 when one is not.
    """
    from galley.validation import validate_files

    files = read_files(filenames)
    if server:
        with connect(kubeconfig) as galley:
            where = namespace or galley.target.namespace
            results = _judged(galley, validate_files(files, lenient=lenient, default_namespace=where), where)
    else:
        results = validate_files(files, lenient=lenient, default_namespace=namespace or "default")
    wrong = [result for result in results if result.problems]
    if output:
        print_value([_as_value(result) for result in results], output)
    else:
        _print(results, wrong, dict(files))
    sys.exit(BAD_DATA if wrong else 0)


def _judged(galley: Any, results: list[DocumentResult], namespace: str) -> list[DocumentResult]:
    """The same documents with what the mesh says about them. What cannot be sent keeps what was found here."""
    from common.config.problem import Problem

    sent = [index for index, result in enumerate(results) if isinstance(result.value, dict)]
    items = [{"document": results[index].value, "source": {"file": results[index].file}} for index in sent]
    code, answer = galley.exchange("POST", _BATCH, body={"items": items, "namespace": namespace, "dryRun": True})
    rows = answer.get("items") if isinstance(answer, dict) else None
    if code not in (200, 422) or rows is None or len(rows) != len(sent):
        raise RefusedError(code, answer if isinstance(answer, dict) else {})
    judged = list(results)
    for index, row in zip(sent, rows, strict=True):
        said = (Problem(path=each["path"], message=each["message"]) for each in row["problems"])
        judged[index] = results[index].without_problems().with_problems(said)
    return judged


def _warnings(result: DocumentResult) -> Sequence[str]:
    from galley.validation.enforcement import gaps

    return [gap.message for gap in gaps(result.resource)] if result.resource is not None else []


def _as_value(result: DocumentResult) -> dict[str, Any]:
    errors = [{"path": found.path, "line": found.line, "message": found.message} for found in result.problems]
    value: dict[str, Any] = {"resource": result.name, "valid": not result.problems, "errors": errors}
    if warnings := _warnings(result):
        value["warnings"] = warnings
    return value


def _print(results: Sequence[DocumentResult], wrong: Sequence[DocumentResult], texts: Mapping[str, bytes]) -> None:
    from deploy.cli.problems import print_problem

    for result in results:
        for found in result.problems:
            print_problem(result.file, result.name, found, texts)
        for warning in _warnings(result):
            click.secho(f"⚠ {result.name}: {warning}", fg="yellow", err=True)
    if wrong:
        problems = sum(len(result.problems) for result in wrong)
        click.echo(f"✘ {count(problems, 'problem')} in {len(wrong)} of {count(len(results), 'resource')}", err=True)
    elif results:
        click.echo(f"✔ {count(len(results), 'resource')} valid")
    else:
        click.echo("There is no resource in what was given.")
