# SPDX-License-Identifier: Apache-2.0
"""`fourmast status`: the meshes on this machine, as their launchers describe them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from deploy.cli.errors import CliError
from deploy.cli.output import output_option, print_table, print_value


@click.command()
@click.argument("name", required=False)
@output_option("json", "yaml")
def status(name: str | None, output: str) -> None:
    """Show the parts of the mesh and where they listen, and the workloads.

    Exit code 0 when everything is as it should be, 1 when something is not.
    """
    meshes = [_read(Path(about["stateDir"])) for about in _running() if name in (None, about["name"])]
    if not meshes:
        raise CliError(f"no mesh {name + ' ' if name else ''}runs here; start one with `fourmast up` or `fourmast demo`")
    if output:
        print_value(meshes, output)
    else:
        for mesh in meshes:
            _print(mesh)
    if any(row["problem"] for mesh in meshes for row in (*mesh["parts"], *mesh["workloads"])):
        raise SystemExit(1)


def _running() -> list[dict[str, Any]]:
    from deploy.local.lock import running

    return running()


def _read(state_dir: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads((state_dir / "status.json").read_text())
        return found
    except (OSError, ValueError) as error:
        raise CliError(f"the mesh in {state_dir} is starting or stopping; its status is not there yet") from error


def _print(mesh: dict[str, Any]) -> None:
    click.echo(f"Mesh {mesh['name']}, mode {mesh['mode']} ({mesh['reason']}), launcher {mesh['pid']}")
    click.echo(f"  export FOURMAST_KUBECONFIG={mesh['kubeconfig']}\n")
    rows = []
    for part in mesh["parts"]:
        first = [part["name"], str(part["pid"] or "-"), part["problem"] or "ready"]
        for listener, address in part["listeners"].items():
            rows.append([*first, listener, address])
            first = ["", "", ""]
    print_table(("PART", "PID", "STATE", "LISTENER", "ADDRESS"), rows)
    click.echo()
    print_table(("WORKLOAD", "NAMESPACE", "KIND", "IP", "EXPOSED", "STATE"), [_workload_row(row) for row in mesh["workloads"]])
    click.echo()


def _workload_row(row: dict[str, Any]) -> list[str]:
    exposed = ", ".join(f"{port} at http://{address}" for port, address in row["exposed"].items()) or "-"
    return [
        row["name"],
        row["namespace"],
        row["kind"],
        row["ip"],
        exposed,
        row["problem"] or ("runs" if row["kind"] == "outside" else "in the mesh"),
    ]
