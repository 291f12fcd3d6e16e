# SPDX-License-Identifier: Apache-2.0
"""`fourmast analyze`: how resources fit each other, in files, in the running mesh, or in the mesh as it would be with the files."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import click

from deploy.cli.connection import connection_options
from deploy.cli.errors import FINDINGS
from deploy.cli.files import files_option, read_files
from deploy.cli.output import output_option, print_table, print_value
from deploy.cli.suppression import Suppression, suppress_option

if TYPE_CHECKING:
    from common.config.resource import Resource, ResourceKey
    from galley.analysis import Finding
    from galley.validation import DocumentResult

_LEVELS: Final = ("Error", "Warning", "Info")
_COLOURS: Final = {"Error": "red", "Warning": "yellow", "Info": "cyan"}


def _list_codes(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted:
        from galley.analysis.codes import RULES

        print_table(("CODE", "NAME", "LEVEL", "MESSAGE"), [(rule.code, rule.name, rule.level, rule.text) for rule in RULES.values()])
        ctx.exit()


@click.command()
@click.argument("files", nargs=-1, metavar="[FILE]...")
@files_option(required=False)
@click.option("-k", "--use-mesh", is_flag=True, help="Analyse the files as if they were applied to the running mesh.")
@click.option("--new", "only_new", is_flag=True, help="With -k: show only what the files bring, not what the mesh has already.")
@click.option("-n", "--namespace", default="default", show_default=True, help="Namespace of resources that name none.")
@click.option("--failure-threshold", type=click.Choice(_LEVELS, case_sensitive=False), default="Warning", show_default=True)
@click.option("--output-threshold", type=click.Choice(_LEVELS, case_sensitive=False), default="Info", show_default=True)
@suppress_option
@click.option("-L", "--list-codes", is_flag=True, is_eager=True, expose_value=False, callback=_list_codes, help="List what can be found.")
@connection_options
@output_option("json", "yaml")
def analyze(
    files: tuple[str, ...],
    filenames: tuple[str, ...],
    use_mesh: bool,
    only_new: bool,
    namespace: str,
    failure_threshold: str,
    output_threshold: str,
    suppress: Suppression,
    kubeconfig: str | None,
    output: str,
) -> None:
    """Find references to nothing, rules that never apply, and resources that contradict each other.

    Without files, the running mesh is analysed. Exit code 79 when something at or above --failure-threshold is found.
    A resource can say itself what not to report about it, by the annotation galley.istio.io/analyze-suppress: "IST0101,IST0118".
    """
    from galley.analysis import LEVELS
    from galley.validation import validate_files

    names = (*files, *filenames)
    if only_new and not (use_mesh and names):
        raise click.UsageError("--new compares files with the mesh: it needs -k and files")
    results = validate_files(read_files(names), default_namespace=namespace)
    mesh = _mesh_resources(kubeconfig) if use_mesh or not names else {}
    found = [each for each in (*_unreadable(results), *_analysed(mesh, results, only_new=only_new)) if not suppress.covers(each)]
    shown = [each for each in found if LEVELS.index(each.level) <= _rank(output_threshold)]
    places = {result.resource.key: result for result in results if result.resource is not None}
    if output:
        print_value([_as_value(each, places) for each in shown], output)
    else:
        _print_findings(shown, places)
    sys.exit(FINDINGS if any(LEVELS.index(each.level) <= _rank(failure_threshold) for each in found) else 0)


def _analysed(mesh: Mapping[ResourceKey, Resource[Any]], results: Sequence[DocumentResult], *, only_new: bool) -> Sequence[Finding]:
    """Files win over what the mesh has of the same name."""
    from galley.analysis import analyze as run

    resources = {**mesh, **{result.resource.key: result.resource for result in results if result.resource is not None}}
    found = run(resources.values())
    if not only_new:
        return found
    before = set(run(mesh.values()))
    return [each for each in found if each not in before]


def _rank(level: str) -> int:
    return [known.lower() for known in _LEVELS].index(level.lower())


def _mesh_resources(kubeconfig: str | None) -> dict[ResourceKey, Resource[Any]]:
    from deploy.cli.connection import connect
    from deploy.cli.mesh_resources import all_resources

    with connect(kubeconfig) as galley:
        return {resource.key: resource for resource in all_resources(galley)}


def _unreadable(results: Sequence[DocumentResult]) -> list[Finding]:
    """Documents whose structure is wrong take no part in the analysis, but are not passed over."""
    from galley.analysis.codes import SCHEMA_VALIDATION_ERROR
    from galley.analysis.finding import Finding

    rule = SCHEMA_VALIDATION_ERROR
    return [
        Finding(
            code=rule.code,
            name=rule.name,
            level=rule.level,
            resource=None,
            path=found.path,
            message=rule.says(f"{result.name} ({result.file}:{found.line or 1}): {found}"),
        )
        for result in results
        if result.resource is None
        for found in result.problems
    ]


def _place(found: Finding, places: Mapping[ResourceKey, DocumentResult]) -> tuple[str, int | None] | None:
    """File and line of the field, or of the nearest thing around it; None for what is in the mesh only."""
    result = places.get(found.resource) if found.resource is not None else None
    if result is None:
        return None
    position = result.document.position(found.path)
    return result.file, position.line if position else None


def _as_value(found: Finding, places: Mapping[ResourceKey, DocumentResult]) -> dict[str, Any]:
    value: dict[str, Any] = {
        "code": found.code,
        "level": found.level,
        "resource": str(found.resource) if found.resource is not None else None,
        "message": found.message,
    }
    if found.path:
        value["path"] = found.path
    if (place := _place(found, places)) is not None:
        value["file"], value["line"] = place
    return value


def _print_findings(findings: Sequence[Finding], places: Mapping[ResourceKey, DocumentResult]) -> None:
    for found in findings:
        level = click.style(found.level, fg=_COLOURS[found.level])
        place = _place(found, places)
        where = f" {place[0]}:{place[1]}" if place is not None and place[1] else ""
        about = f" ({found.resource}{where})" if found.resource is not None else ""
        click.echo(f"{level} [{found.code}]{about} {found.message}")
    if not findings:
        click.echo("✔ No validation issues found.")
