# SPDX-License-Identifier: Apache-2.0
"""`galley serve | config check | migrate | webhook manifest | version`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from common.lifecycle.command import EXIT_CONFIGURATION, part_command, setting_options
from common.lifecycle.host import StartError
from common.lifecycle.settings import load
from galley.api.webhook.command import webhook
from galley.settings import GalleySettings

if TYPE_CHECKING:
    from common.lifecycle import Component


def _build(settings: GalleySettings) -> Component:
    from galley.app import build

    return build(settings)


main = part_command("galley", GalleySettings, _build, about="The mesh's configuration: accepted, validated, stored, distributed.")


def _migrate(config: Path | None, to: str, **flags: Any) -> None:
    from galley.store.moving import move

    try:
        settings = load(GalleySettings, prefix="GALLEY_", flags=flags, config=config).settings
        if not isinstance(settings, GalleySettings):
            raise AssertionError("loaded by its own type")
        before, after = move(settings.database_url, to)
    except StartError as error:
        click.echo(f"galley: {error}", err=True)
        sys.exit(EXIT_CONFIGURATION)
    click.echo(f"the schema is at version {after}" + (f" (it was at {before or 'none'})" if before != after else ""))


_TO = click.Option(["--to"], default="head", show_default=True, help="A version, or -1 for the one before.")
main.add_command(
    click.Command(
        "migrate",
        callback=_migrate,
        params=[*(o for o in setting_options(GalleySettings) if o.name in ("config", "state_dir", "database")), _TO],
        help="Move the database's schema to another version while no Galley runs; serve moves it to the newest by itself.",
    )
)
main.add_command(webhook)

if __name__ == "__main__":
    main()
