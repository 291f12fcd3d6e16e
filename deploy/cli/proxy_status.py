# SPDX-License-Identifier: Apache-2.0
"""`fourmast proxy-status`: which proxies have which configuration, in istioctl's columns, and what Envoy refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import click

from common.config.registry import registry
from deploy.cli.connection import connection_options
from deploy.cli.output import output_option, print_table, print_value
from deploy.cli.parts import connect_to_pilot
from deploy.cli.proxies import find_proxies, name_of

_TYPES: Final = {"CDS": "cluster", "LDS": "listener", "EDS": "endpoint", "RDS": "route", "VHDS": "virtual_host"}
_OPTIONAL: Final = "virtual_host"
"""Which a proxy need not discover."""


@click.command()
@click.argument("proxy", required=False)
@click.option("--server", metavar="HOST:PORT", help="Pilot's debug address.  [default: that of the local mesh]")
@connection_options
@output_option("json", "yaml")
def proxy_status(proxy: str | None, server: str | None, kubeconfig: str | None, output: str) -> None:
    """Show for each proxy (or the one called PROXY, as name or name.namespace) whether it has acknowledged what Pilot sent."""
    with connect_to_pilot(kubeconfig, server) as pilot:
        rows: list[Mapping[str, Any]] = pilot.get("/debug/syncz")
    if proxy is not None:
        rows = find_proxies(rows, proxy)
    if output:
        print_value(rows, output)
        return
    if not rows:
        click.echo("No proxy is connected.")
        return
    table = [(name_of(row), *(_state(row, kind) for kind in _TYPES.values()), str(row.get("istio_version", ""))) for row in rows]
    print_table(("NAME", *_TYPES, "VERSION"), sorted(table))
    for row in rows:
        _print_refusals(row)


def _state(row: Mapping[str, Any], kind: str) -> str:
    states = row.get("states", {})
    if kind == _OPTIONAL and kind not in states:
        return "-"
    state: Mapping[str, Any] = states.get(kind, {})
    word = str(state.get("state", "NOT SENT"))
    return "STALE (Never Acknowledged)" if word == "STALE" and f"{kind}_acked" not in row else word


def _print_refusals(row: Mapping[str, Any]) -> None:
    for short, kind in _TYPES.items():
        for refusal in row.get("states", {}).get(kind, {}).get("rejected", ()):
            click.secho(f"\n✘ {name_of(row)} refused {short} resource {refusal['resource']}: {refusal['reason']}", fg="red")
            for source in refusal.get("sources", ()):
                known = registry.by_collection(source["collection"])
                click.echo(f"  it comes from {known.name if known else source['collection']} {source['name']}")
