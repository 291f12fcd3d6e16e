# SPDX-License-Identifier: Apache-2.0
"""`fourmast analyze`: how resources fit each other, in files, in the running mesh, or in the mesh as it would be with the files."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

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


class Mesh(NamedTuple):
    """What the running mesh holds, and which version its Galley is."""

    resources: Mapping[ResourceKey, Resource[Any]]
    version: str


class Located(NamedTuple):
    """A finding with file and line of its field, or of the nearest thing around it; without them when it is in the mesh only."""

    finding: Finding
    file: str = ""
    line: int | None = None


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
    from galley.validation import Context, validate_files

    names = (*files, *filenames)
    if only_new and not (use_mesh and names):
        raise click.UsageError("--new compares files with the mesh: it needs -k and files")
    mesh = _read_mesh(kubeconfig) if use_mesh or not names else Mesh({}, "")
    results = validate_files(read_files(names), default_namespace=namespace, context=Context().with_resources(mesh.resources.values()))
    found = [each for each in _analysed(mesh, results, only_new=only_new) if not suppress.covers(each.finding)]
    shown = [each for each in found if LEVELS.index(each.finding.level) <= _rank(output_threshold)]
    if output:
        print_value([_as_value(each) for each in shown], output)
    else:
        _print_findings(shown)
    sys.exit(FINDINGS if any(LEVELS.index(each.finding.level) <= _rank(failure_threshold) for each in found) else 0)


def _analysed(mesh: Mesh, results: Sequence[DocumentResult], *, only_new: bool) -> Sequence[Located]:
    """Files win over what the mesh has of the same name; they were validated when they were read."""
    from galley.analysis import analyze as run
    from galley.analysis.analysers import ANALYSERS, order
    from galley.analysis.schema import schema_errors

    written: dict[ResourceKey, DocumentResult] = {}
    for result in results:
        if result.resource is not None:
            written.setdefault(result.resource.key, result)  # a second one of the same name is a mistake of its own
    stored = [resource for key, resource in mesh.resources.items() if key not in written]
    together = [*stored, *(result.resource for result in written.values() if result.resource is not None)]
    relations = [analyser for analyser in ANALYSERS if analyser is not schema_errors]
    related = run(together, relations, control_plane_version=mesh.version)
    found = [*_invalid(results), *(_located(each, written) for each in (*run(stored, [schema_errors]), *related))]
    before = set(run(mesh.resources.values(), control_plane_version=mesh.version)) if only_new else set()
    return sorted((each for each in found if each.finding not in before), key=lambda each: order(each.finding))


def _rank(level: str) -> int:
    return [known.lower() for known in _LEVELS].index(level.lower())


def _read_mesh(kubeconfig: str | None) -> Mesh:
    from deploy.cli.connection import connect
    from deploy.cli.mesh_resources import all_resources

    with connect(kubeconfig) as galley:
        version = str(galley.get("/version").get("gitVersion", ""))  # v1.16.0-fourmast.0.1.0
        return Mesh({resource.key: resource for resource in all_resources(galley)}, version.partition("-fourmast.")[2])


def _invalid(results: Sequence[DocumentResult]) -> Iterator[Located]:
    """What validation says. A document whose structure is wrong has no resource and takes no part in the rest, but is not passed over."""
    from common.config.problem import parse_path
    from galley.analysis.analysers import suppressed_codes
    from galley.analysis.codes import SCHEMA_VALIDATION_ERROR as RULE
    from galley.analysis.finding import finding

    for result in results:
        if result.resource is not None and suppressed_codes(result.resource) & {RULE.code, "*"}:
            continue
        for found in result.problems:
            about = "" if result.resource is not None else f"{result.name} ({result.file}:{found.line or 1}): "
            yield Located(finding(RULE, result.resource, parse_path(found.path), RULE.says(f"{about}{found}")), result.file, found.line)


def _located(found: Finding, written: Mapping[ResourceKey, DocumentResult]) -> Located:
    result = written.get(found.resource) if found.resource is not None else None
    if result is None:
        return Located(found)
    position = result.document.position(found.path)
    return Located(found, result.file, position.line if position else None)


def _as_value(located: Located) -> dict[str, Any]:
    found = located.finding
    value: dict[str, Any] = {
        "code": found.code,
        "level": found.level,
        "resource": str(found.resource) if found.resource is not None else None,
        "message": found.message,
    }
    if found.path:
        value["path"] = found.path
    if located.file:
        value["file"], value["line"] = located.file, located.line
    return value


def _print_findings(findings: Sequence[Located]) -> None:
    for found, file, line in findings:
        level = click.style(found.level, fg=_COLOURS[found.level])
        where = f" {file}:{line}" if line else ""
        about = f" ({found.resource}{where})" if found.resource is not None else ""
        click.echo(f"{level} [{found.code}]{about} {found.message}")
    if not findings:
        click.echo("✔ No validation issues found.")
