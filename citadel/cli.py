# SPDX-License-Identifier: Apache-2.0
"""`citadel serve | config check | version`, `citadel token create`, which asks a running Citadel, and `citadel kubeconfig`."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from citadel.settings import CitadelSettings
from common.lifecycle.command import EXIT_CONFIGURATION, part_command
from common.mesh import names

if TYPE_CHECKING:
    from common.lifecycle import Component


def _build(settings: CitadelSettings) -> Component:
    from citadel.app import build

    return build(settings)


main = part_command("citadel", CitadelSettings, _build, about="The mesh's certificate authority.")


@main.group()
def token() -> None:
    """Join tokens for workloads."""


@token.command()
@click.option("--namespace", required=True, help="namespace of the workload")
@click.option("--service-account", required=True, help="service account of the workload")
@click.option("--label", "labels", multiple=True, metavar="KEY=VALUE", help="label that the workload must have; may be repeated")
@click.option("--ttl", default="1h", show_default=True, help="how long the token can be used")
@click.option("--uses", default=1, show_default=True, help="how often it can be used; 0: any number")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), required=True, help="join file to write (0600)")
@click.option("--state-dir", type=click.Path(path_type=Path, file_okay=False), default=Path(".fourmast"), show_default=True)
@click.option("--admin-address", default=None, help="Citadel's admin address [default: what addresses.json in the state directory says]")
def create(
    namespace: str,
    service_account: str,
    labels: tuple[str, ...],
    ttl: str,
    uses: int,
    out: Path,
    state_dir: Path,
    admin_address: str | None,
) -> None:
    """Write a join file with a new token. It is shown nowhere: whoever reads it can become that workload."""
    from common.config.duration import DurationError, seconds

    bounds = dict(label.partition("=")[::2] for label in labels)
    try:
        body = {
            "namespace": namespace,
            "serviceAccount": service_account,
            "labels": bounds,
            "ttlSeconds": int(seconds(ttl)),
            "uses": uses,
        }
        answer = asyncio.run(_post("/v1/tokens", body, state_dir, admin_address or _admin_address(state_dir)))
    except (DurationError, OSError, ConnectionError) as error:
        click.echo(f"citadel: {error}", err=True)
        sys.exit(EXIT_CONFIGURATION)
    import msgspec

    from common.identity.join_file import JoinFile

    msgspec.convert(answer["joinFile"], JoinFile).save(out)
    click.echo(f"wrote {out}: token {answer['id']} for {answer['joinFile']['spiffeId']}, {uses or 'any number of'} use(s) within {ttl}")


@main.command()
@click.option(
    "--galley-address", default=f"127.0.0.1:{names.GALLEY_REST}", show_default=True, help="Galley's REST interface, as its users reach it"
)
@click.option("--name", default="fourmast", show_default=True, help="what the mesh is called there")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), required=True, help="kubeconfig to write (0600)")
@click.option("--state-dir", type=click.Path(path_type=Path, file_okay=False), default=Path(".fourmast"), show_default=True)
def kubeconfig(galley_address: str, name: str, out: Path, state_dir: Path) -> None:
    """Write the administrator's kubeconfig, for `fourmast` and kubectl. Whoever reads it can change the whole mesh."""
    from common.identity.kubeconfig import write_kubeconfig

    try:
        token = (state_dir / "admin.token").read_text().strip()
        write_kubeconfig(out, name=name, galley=galley_address, roots=state_dir / "roots.pem", token=token)
    except OSError as error:
        click.echo(f"citadel: {error.filename}: {error.strerror}; has a Citadel with this state directory been started?", err=True)
        sys.exit(EXIT_CONFIGURATION)
    click.echo(f"wrote {out}: use it with `export FOURMAST_KUBECONFIG={out}`")


async def _post(path: str, body: dict[str, Any], state_dir: Path, address: str) -> Any:
    import httpx

    from common.identity.https import https_client

    roots, bearer = (state_dir / "roots.pem").read_bytes(), (state_dir / "admin.token").read_text().strip()
    async with https_client(address, part="citadel", roots_pem=roots, token=bearer) as client:
        try:
            response = await client.post(path, json=body)
        except httpx.HTTPError as error:
            raise ConnectionError(f"Citadel does not answer at {address}: {error}") from error
    if response.is_error:
        raise ConnectionError(f"Citadel refused: {response.text}")
    return response.json()


def _admin_address(state_dir: Path) -> str:
    try:
        return str(json.loads((state_dir / "addresses.json").read_bytes())["citadel"]["admin"])
    except (OSError, ValueError, KeyError):
        return f"127.0.0.1:{names.CITADEL_ADMIN}"


if __name__ == "__main__":
    main()
