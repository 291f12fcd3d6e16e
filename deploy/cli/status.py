# SPDX-License-Identifier: Apache-2.0
"""`fourmast status`: what runs on this machine, where it listens, who takes Galley's configuration, and what is wrong with it."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import click

from deploy.cli.connection import connection_options, find_kubeconfig
from deploy.cli.errors import FAILED
from deploy.cli.output import output_option, print_table, print_value
from deploy.cli.parts import read_status
from deploy.cli.sinks import COLUMNS, Sink, read_sinks, refusals, rows


@click.command()
@connection_options
@output_option("json", "yaml")
def status(kubeconfig: str | None, output: str) -> None:
    """Show the parts and workloads of the mesh on this machine. Exit code 1 when something is wrong with one.

    Administrators also see which sinks (Pilot, Mixer) are connected to Galley, and whether each has the newest configuration.
    """
    file = find_kubeconfig(kubeconfig)
    found = read_status(file)
    sinks = read_sinks(str(file))
    problems = [each for each in (*found["parts"], *found["workloads"]) if each["problem"]]
    if output:
        print_value(found | ({"sinksUnknown": sinks} if isinstance(sinks, str) else {"sinks": sinks}), output)
    else:
        _print(found)
        _print_sinks(sinks)
        for part in found["parts"]:
            if part.get("remark"):
                click.secho(f"! {part['name']}: {part['remark']}", fg="yellow")
        for each in problems:
            click.secho(f"✘ {each['name']}: {each['problem']}", fg="red")
    sys.exit(FAILED if problems else 0)


def _print(found: Mapping[str, Any]) -> None:
    click.echo(f"mesh {found['name']}: {found['controlPlane']}, mode {found['mode']} ({found['reason']})")
    click.echo(f"state in {found['stateDir']}, launcher {found['pid']}\n")
    rows = [
        (part["name"] if first else "", str(part["pid"] or "-") if first else "", _word(part) if first else "", listener, address)
        for part in found["parts"]
        for first, (listener, address) in _with_first(part["listeners"])
    ]
    print_table(("PART", "PID", "STATE", "LISTENER", "ADDRESS"), rows)
    click.echo("")
    print_table(
        ("WORKLOAD", "NAMESPACE", "KIND", "IP", "STATE", "REACHED AT"),
        [
            (
                each["name"],
                each["namespace"],
                each["kind"],
                each["ip"],
                _word(each),
                ", ".join(f"http://{to}" for to in each["exposed"].values()),
            )
            for each in found["workloads"]
        ],
    )


def _print_sinks(sinks: Sequence[Sink] | str) -> None:
    click.echo("")
    if isinstance(sinks, str):
        click.echo(f"sinks of Galley are not known: {sinks}")
        return
    print_table(COLUMNS, rows(sinks))
    for refusal in refusals(sinks):
        click.secho(f"! {refusal}", fg="yellow")


def _word(each: Mapping[str, Any]) -> str:
    return "trouble" if each["problem"] else "ready"


def _with_first(listeners: Mapping[str, str]) -> list[tuple[bool, tuple[str, str]]]:
    """Pairs of a part, the first one marked: its name stands once."""
    pairs = list(listeners.items()) or [("-", "-")]
    return [(index == 0, pair) for index, pair in enumerate(pairs)]
