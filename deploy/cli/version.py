# SPDX-License-Identifier: Apache-2.0
"""`fourmast version`."""

from __future__ import annotations

import importlib.metadata
import platform

import click

from deploy.cli.output import output_option, print_value


@click.command()
@output_option("json", "yaml")
def version(output: str) -> None:
    """Print the version."""
    found = {"client": importlib.metadata.version("fourmast-deploy"), "python": platform.python_version(), "machine": platform.machine()}
    if output:
        print_value(found, output)
    else:
        click.echo(f"fourmast {found['client']} (Python {found['python']}, {found['machine']})")
