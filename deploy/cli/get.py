# SPDX-License-Identifier: Apache-2.0
"""`fourmast get`: lists as tables, objects as YAML or JSON."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import click

from deploy.cli.conditions import in_short
from deploy.cli.connection import connect, connection_options
from deploy.cli.errors import CliError
from deploy.cli.mesh_resources import kind_named, path_of
from deploy.cli.output import output_option, print_table, print_value

Document = Mapping[str, Any]
Column = tuple[str, Callable[[Document], str]]


def _listed(*path: str) -> Callable[[Document], str]:
    """A list field as text: `reviews,ratings`."""

    def cell(document: Document) -> str:
        value: Any = document
        for name in path:
            value = value.get(name) if isinstance(value, Mapping) else None
        return ",".join(map(str, value)) if isinstance(value, list) else str(value or "")

    return cell


def _labels(*path: str) -> Callable[[Document], str]:
    def cell(document: Document) -> str:
        value: Any = document
        for name in path:
            value = value.get(name) if isinstance(value, Mapping) else None
        return ",".join(f"{key}={item}" for key, item in sorted((value or {}).items()))

    return cell


def _ports(document: Document) -> str:
    ports = document.get("spec", {}).get("ports") or []
    return ",".join(f"{port.get('port', port.get('number'))}/{port.get('protocol', 'TCP')}" for port in ports)


_COLUMNS: Final[Mapping[str, tuple[Column, ...]]] = {
    "VirtualService": (("GATEWAYS", _listed("spec", "gateways")), ("HOSTS", _listed("spec", "hosts"))),
    "DestinationRule": (("HOST", _listed("spec", "host")),),
    "Gateway": (("SELECTOR", _labels("spec", "selector")),),
    "ServiceEntry": (
        ("HOSTS", _listed("spec", "hosts")),
        ("LOCATION", _listed("spec", "location")),
        ("RESOLUTION", _listed("spec", "resolution")),
    ),
    "WorkloadEntry": (("ADDRESS", _listed("spec", "address")), ("LABELS", _labels("spec", "labels"))),
    "Service": (("CLUSTER-IP", _listed("spec", "clusterIP")), ("PORTS", _ports), ("SELECTOR", _labels("spec", "selector"))),
    "rule": (("MATCH", _listed("spec", "match")),),
    "handler": (("ADAPTER", _listed("spec", "compiledAdapter")),),
    "instance": (("TEMPLATE", _listed("spec", "compiledTemplate")),),
}
"""What a table shows between NAME and AGE."""
_CELL_WIDTH: Final = 60
"""Longer cells are cut; -o wide shows them whole."""


@click.command()
@click.argument("kind")
@click.argument("name", required=False)
@click.option("-n", "--namespace", default=None, help="Namespace to look in.  [default: that of the kubeconfig]")
@click.option("-A", "--all-namespaces", is_flag=True, help="Look in all namespaces.")
@click.option("-l", "--selector", default="", metavar="KEY=VALUE,…", help="Only resources with these labels.")
@connection_options
@output_option("json", "yaml", "wide", "name")
def get(
    kind: str, name: str | None, namespace: str | None, all_namespaces: bool, selector: str, kubeconfig: str | None, output: str
) -> None:
    """List resources of a KIND (vs, dr, gateways, services, rule, …), or show the one called NAME."""
    wanted = kind_named(kind)
    with connect(kubeconfig) as galley:
        where = None if all_namespaces else namespace or galley.target.namespace
        if name is not None:
            if all_namespaces:
                raise CliError("a name is unique in its namespace only; use -n instead of -A", exit_code=2)
            found: Any = galley.get(path_of(wanted, where, name))
            documents = [found]
        else:
            found = galley.get(path_of(wanted, where), **({"labelSelector": selector} if selector else {}))
            documents = found["items"]
    if output in ("json", "yaml"):
        print_value(found, output)
    elif output == "name":
        for document in documents:
            click.echo(f"{wanted.singular}/{document['metadata']['name']}")
    elif not documents:
        click.echo(f"No {wanted.plural} found{f' in namespace {where}' if where and not wanted.cluster_scoped else ''}.", err=True)
    else:
        _print_documents(wanted.name, documents, with_namespace=all_namespaces and not wanted.cluster_scoped, wide=output == "wide")


def _print_documents(kind: str, documents: list[Document], *, with_namespace: bool, wide: bool) -> None:
    columns: list[Column] = [("NAME", _listed("metadata", "name")), *_COLUMNS.get(kind, ()), ("AGE", _age)]
    if with_namespace:
        columns.insert(0, ("NAMESPACE", _listed("metadata", "namespace")))
    if wide:
        columns += [("LABELS", _labels("metadata", "labels")), ("VERSION", _listed("metadata", "resourceVersion")), ("STATUS", in_short)]
    rows = [[cell(document) for _, cell in columns] for document in documents]
    print_table([title for title, _ in columns], rows, cell_width=None if wide else _CELL_WIDTH)


def _age(document: Document) -> str:
    """Since its creation, in kubectl's short form."""
    created = document["metadata"].get("creationTimestamp")
    if not created:
        return ""
    seconds = max(0, int((datetime.now(UTC) - datetime.fromisoformat(created)).total_seconds()))
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= 2 * size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"
