# SPDX-License-Identifier: Apache-2.0
"""`fourmast validate`: everything that Galley would say about single resources, without a mesh."""

from __future__ import annotations

import sys
from typing import Any

import click

from deploy.cli.errors import BAD_DATA
from deploy.cli.files import files_option, read_files
from deploy.cli.output import count, output_option, print_value


@click.command()
@files_option(required=True)
@click.option("-n", "--namespace", default="default", show_default=True, help="Namespace of resources that name none.")
@click.option("--lenient", is_flag=True, help="Ignore unknown fields in silence, as Istio 1.4 did.")
@output_option("json", "yaml")
def validate(filenames: tuple[str, ...], namespace: str, lenient: bool, output: str) -> None:
    """Check files without a mesh. Every mistake of every document is named with file, line, field and remedy.

    Exit code 0 when all resources are valid, 65 when one is not.
    """
    from galley.validation import validate_files

    files = read_files(filenames)
    results = validate_files(files, lenient=lenient, default_namespace=namespace)
    wrong = [result for result in results if not result.is_valid]
    if output:
        print_value([_as_value(result) for result in results], output)
    else:
        from deploy.cli.problems import print_problem

        texts = dict(files)
        for result in wrong:
            for found in result.problems:
                print_problem(result.file, result.name, found, texts)
        _print_summary(results, wrong)
    sys.exit(BAD_DATA if wrong else 0)


def _as_value(result: Any) -> dict[str, Any]:
    errors = [{"path": found.path, "line": found.line, "message": found.message} for found in result.problems]
    return {"resource": result.name, "valid": result.is_valid, "errors": errors}


def _print_summary(results: list[Any], wrong: list[Any]) -> None:
    if wrong:
        problems = sum(len(result.problems) for result in wrong)
        click.echo(f"✘ {count(problems, 'problem')} in {len(wrong)} of {count(len(results), 'resource')}", err=True)
    elif results:
        click.echo(f"✔ {count(len(results), 'resource')} valid")
    else:
        click.echo("There is no resource in what was given.")
