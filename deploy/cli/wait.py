# SPDX-License-Identifier: Apache-2.0
"""`fourmast wait`: until the proxies (or Mixer) have taken a resource as it is now."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import click

from deploy.cli.connection import Connection, connect, connection_options
from deploy.cli.errors import CliError
from deploy.cli.mesh_resources import kind_named, path_of

APPLIED: Final = "Applied"
_PAUSE: Final = 0.2  # seconds between two looks


@click.command()
@click.argument("kind")
@click.argument("name")
@click.option("-n", "--namespace", default=None, help="Namespace to look in.  [default: that of the kubeconfig]")
@click.option("--timeout", default="30s", show_default=True, help="How long to wait.")
@connection_options
def wait(kind: str, name: str, namespace: str | None, timeout: str, kubeconfig: str | None) -> None:
    """Wait until the current version of a resource is in force: Envoy or Mixer has accepted it.

    Exit code 1 when it was refused (the reason is shown), or when nobody has said anything in time - also because no proxy uses it.
    """
    from common.config.duration import DurationError, seconds

    try:
        limit = seconds(timeout)
    except DurationError as error:
        raise CliError(f"--timeout: {error}", exit_code=2) from error
    wanted = kind_named(kind)
    with connect(kubeconfig) as galley:
        where = namespace or galley.target.namespace
        found = until_applied(galley, path_of(wanted, where, name), limit)
    shown = f"{wanted.name} {name if wanted.cluster_scoped else f'{where}/{name}'}"
    if found is None:
        raise CliError(
            f"{shown}: nobody has reported on its current version within {timeout}; `fourmast proxy-status` shows who is connected"
        )
    if found["status"] != "True":
        raise CliError(f"{shown} is not in force: {found.get('message') or found.get('reason')}")
    click.echo(f"{shown} is in force ({found.get('reason')})")


def until_applied(
    galley: Connection,
    path: str,
    limit: float,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Mapping[str, Any] | None:
    """The `Applied` condition of the object's current version, as soon as there is a verdict; None after `limit` seconds without one."""
    end = clock() + limit
    while True:
        conditions = galley.get(path).get("status", {}).get("conditions", [])
        applied: list[Mapping[str, Any]] = [each for each in conditions if each["type"] == APPLIED and each["status"] != "Unknown"]
        if applied:
            return min(applied, key=lambda each: each["status"] == "True")  # one refusal outweighs all who accept
        if clock() >= end:
            return None
        sleep(_PAUSE)
