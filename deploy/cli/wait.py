# SPDX-License-Identifier: Apache-2.0
"""`fourmast wait`: until the proxies (or Mixer) have taken a resource as it is now."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import click

from deploy.cli.conditions import PROGRAMMED, REJECTED, conditions_of, is_bad
from deploy.cli.connection import Connection, connect, connection_options
from deploy.cli.errors import CliError
from deploy.cli.mesh_resources import kind_named, path_of

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
        found = until_programmed(galley, path_of(wanted, where, name), limit)
    shown = f"{wanted.name} {name if wanted.cluster_scoped else f'{where}/{name}'}"
    if found is None or found["status"] == "Unknown":
        known = f"{found['message']} within {timeout}" if found and found.get("message") else ""
        text = known or f"nobody has reported on its current version within {timeout}"
        raise CliError(f"{shown}: {text}; `fourmast proxy-status` shows who is connected")
    if is_bad(found):
        raise CliError(f"{shown} is not in force: {found.get('message') or found.get('reason')}")
    click.echo(f"{shown} is in force ({found.get('message') or found.get('reason')})")


def until_programmed(
    galley: Connection,
    path: str,
    limit: float,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Mapping[str, Any] | None:
    """The verdict on the object's current version as soon as there is one; a refusal counts first.

    After `limit` seconds what is known so far: a Programmed that is still Unknown, or None.
    """
    end = clock() + limit
    while True:
        conditions = [each for each in conditions_of(galley.get(path)) if each["type"] in (PROGRAMMED, REJECTED)]
        verdicts = [each for each in conditions if is_bad(each) or (each["type"] == PROGRAMMED and each["status"] == "True")]
        if verdicts:
            return min(verdicts, key=lambda each: (not is_bad(each), each["type"] != REJECTED))  # Rejected has Envoy's own words
        if clock() >= end:
            return conditions[0] if conditions else None
        sleep(_PAUSE)
