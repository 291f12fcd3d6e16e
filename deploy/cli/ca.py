# SPDX-License-Identifier: Apache-2.0
"""`fourmast ca`: join tokens, certificates and roots, by Citadel's admin interface."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import click

from deploy.cli.connection import connection_options
from deploy.cli.errors import CliError
from deploy.cli.output import output_option, print_table, print_value
from deploy.cli.parts import connect_to_citadel

F = TypeVar("F", bound=Callable[..., Any])


def _citadel_options(command: F) -> F:
    option = click.option("--server", metavar="HOST:PORT", help="Citadel's admin address.  [default: that of the local mesh]")
    return connection_options(option(command))


@click.group()
def ca() -> None:
    """Work with Citadel, the mesh's certificate authority."""


@ca.command()
@_citadel_options
def root(server: str | None, kubeconfig: str | None) -> None:
    """Print the root certificates that members of the mesh trust, as PEM."""
    with connect_to_citadel(kubeconfig, server) as citadel:
        click.echo(citadel.request("GET", "/v1/roots", accept="*/*"), nl=False)


@ca.command("list")
@click.option("--expired", is_flag=True, help="Also those that are no longer valid.")
@_citadel_options
@output_option("json", "yaml")
def list_certificates(expired: bool, server: str | None, kubeconfig: str | None, output: str) -> None:
    """List the certificates that Citadel has issued."""
    with connect_to_citadel(kubeconfig, server) as citadel:
        found = citadel.get("/v1/certificates", expired=str(expired).lower())
    if output:
        print_value(found, output)
        return
    rows = [
        (each["spiffeId"], _moment(each["notAfter"]), each["authenticator"], each["peer"], "revoked" if each["revokedAt"] else "")
        for each in found
    ]
    print_table(("IDENTITY", "NOT AFTER", "PROVED BY", "PEER", ""), rows)


@ca.group()
def token() -> None:
    """Join tokens: what a new workload proves itself with, once."""


@token.command()
@click.option("-n", "--namespace", required=True, help="Namespace of the workload.")
@click.option("-s", "--service-account", required=True, help="Service account of the workload.")
@click.option("-l", "--label", "labels", multiple=True, metavar="KEY=VALUE", help="Label that the workload must have; may be repeated.")
@click.option("--ttl", default="1h", show_default=True, help="How long the token can be used.")
@click.option("--uses", default=1, show_default=True, type=click.IntRange(min=0), help="How often it can be used; 0: any number.")
@click.option("--out", required=True, type=click.Path(path_type=Path, dir_okay=False), help="Join file to write, readable by you alone.")
@_citadel_options
def create(
    namespace: str,
    service_account: str,
    labels: tuple[str, ...],
    ttl: str,
    uses: int,
    out: Path,
    server: str | None,
    kubeconfig: str | None,
) -> None:
    """Write a join file with a new token. The token is shown nowhere: whoever reads it can become that workload."""
    from common.config.duration import DurationError, seconds

    try:
        lifetime = int(seconds(ttl))
    except DurationError as error:
        raise CliError(f"--ttl: {error}", exit_code=2) from error
    if wrong := [label for label in labels if "=" not in label]:
        raise CliError(f"--label {wrong[0]!r} is not of the form KEY=VALUE", exit_code=2)
    body = {
        "namespace": namespace,
        "serviceAccount": service_account,
        "labels": dict(label.split("=", 1) for label in labels),
        "ttlSeconds": lifetime,
        "uses": uses,
    }
    with connect_to_citadel(kubeconfig, server) as citadel:
        answer = citadel.request("POST", "/v1/tokens", body=body)
    _write_private(out, json.dumps(answer["joinFile"]).encode())
    click.echo(f"wrote {out}: token {answer['id']} for {answer['joinFile']['spiffeId']}, {uses or 'any number of'} use(s) within {ttl}")


@token.command("list")
@_citadel_options
@output_option("json", "yaml")
def list_tokens(server: str | None, kubeconfig: str | None, output: str) -> None:
    """List join tokens, without their secrets."""
    with connect_to_citadel(kubeconfig, server) as citadel:
        found = citadel.get("/v1/tokens")
    if output:
        print_value(found, output)
        return
    rows = [
        (each["id"], f"{each['namespace']}/{each['serviceAccount']}", f"{each['used']}/{each['uses'] or 'any'}", _moment(each["expiresAt"]))
        for each in found
    ]
    print_table(("ID", "FOR", "USED", "EXPIRES"), rows)


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def _write_private(path: Path, content: bytes) -> None:
    """Never readable by others, not even for a moment."""
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(content)
    except OSError as error:
        raise CliError(f"cannot write {path}: {error.strerror}") from error
