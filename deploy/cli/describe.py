# SPDX-License-Identifier: Apache-2.0
"""`fourmast describe`: one resource for people - where it came from, what Envoy and Mixer said about it, what analysis found, and itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import click

from deploy.cli.conditions import Condition, conditions_of, is_bad, is_good
from deploy.cli.connection import connect, connection_options
from deploy.cli.mesh_resources import kind_named, path_of
from deploy.cli.output import print_value
from deploy.cli.revisions import revisions_of

_ORIGIN: Final = "fourmast.io/"
"""Prefix of the annotations that the control plane writes."""


@click.command()
@click.argument("kind")
@click.argument("name")
@click.option("-n", "--namespace", default=None, help="Namespace to look in.  [default: that of the kubeconfig]")
@connection_options
def describe(kind: str, name: str, namespace: str | None, kubeconfig: str | None) -> None:
    """Show a resource with its status: accepted or refused by Envoy, findings of the analysis."""
    wanted = kind_named(kind)
    with connect(kubeconfig) as galley:
        where = namespace or galley.target.namespace
        document: Mapping[str, Any] = galley.get(path_of(wanted, where, name))
        changes = revisions_of(galley, wanted, where, name, limit=1)  # none for a workload that its agent registered
    metadata = document["metadata"]
    click.echo(f"{wanted.name} {metadata['name'] if wanted.cluster_scoped else metadata['namespace'] + '/' + metadata['name']}")
    _line("Created", metadata.get("creationTimestamp"))
    _line("Version", metadata.get("resourceVersion"))
    for change in changes:
        _line("Changed", f"{change['at']} by {change['actor']}{' from ' + change['source'] if change['source'] else ''}")
    _line("Labels", ", ".join(f"{key}={value}" for key, value in metadata.get("labels", {}).items()))
    for key, value in metadata.get("annotations", {}).items():
        _line(key.removeprefix(_ORIGIN), value)
    _print_status(document)
    click.echo("")
    hidden = ("metadata", "status", "apiVersion", "kind")
    print_value({name: value for name, value in document.items() if name not in hidden}, "yaml")


def _line(title: str, value: Any) -> None:
    if value:
        click.echo(f"  {title + ':':<12} {value}")


def _print_status(document: Mapping[str, Any]) -> None:
    conditions = conditions_of(document)
    if not conditions:
        _line("Status", "nothing is known yet")
        return
    click.echo("  Status:")
    for condition in conditions:
        reporter = f" ({condition['reporter']})" if condition.get("reporter") not in (None, "", "galley") else ""
        text = " - ".join(part for part in (condition.get("reason"), condition.get("message")) if part)
        click.echo(f"    {condition['type']} {_verdict(condition)}{reporter}{': ' + text if text else ''}")
    mild = [message for message in document["status"].get("validationMessages", []) if message["level"] == "Info"]
    for message in mild:  # the others are in the condition Analyzed
        click.echo(f"    {message['level']} [{message['code']}] {message['message']}")


def _verdict(condition: Condition) -> str:
    colour = "red" if is_bad(condition) else "green" if is_good(condition) else "yellow"
    return click.style(condition["status"], fg=colour)
