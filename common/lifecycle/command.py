# SPDX-License-Identifier: Apache-2.0
"""The command line that the parts share: `serve`, `config check`, `version`, with one flag for each setting.

Exit codes: 0 asked to stop, 1 configuration or start problem, 2 usage, 70 internal error.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import os
import platform
import sys
import traceback
import types
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

import click

from common.lifecycle.component import Component, Life
from common.lifecycle.host import StartError, host
from common.lifecycle.settings import Effective, PartSettings, is_list, load

P = TypeVar("P", bound=PartSettings)
EXIT_CONFIGURATION, EXIT_INTERNAL = 1, 70
SWITCH_SECONDS = 0.001
"""How long a thread that computes (an analysis, a push) may keep the event loop waiting for the interpreter; Python's own 5 ms add up."""


def part_command(
    name: str, settings_type: type[P], build: Callable[[P], Component | Sequence[Component]], *, about: str, prefix: str | None = None
) -> click.Group:
    """The command group of a part. `build` makes its component (or, for istiod, several) from the settings."""
    prefix = prefix or f"{name.upper().replace('-', '_')}_"

    @click.group(name=name, help=about, context_settings={"help_option_names": ["-h", "--help"]})
    def group() -> None:
        pass

    def effective(config: Path | None, flags: Mapping[str, Any]) -> Effective:
        try:
            return load(settings_type, prefix=prefix, flags=flags, config=config)
        except StartError as error:
            click.echo(f"{name}: {error}", err=True)
            sys.exit(EXIT_CONFIGURATION)

    def serve(config: Path | None, **flags: Any) -> None:
        sys.exit(serve_components(name, effective(config, flags), build))

    def check(config: Path | None, **flags: Any) -> None:
        for line in effective(config, flags).lines():
            click.echo(line)
        click.echo(f"{name}: the settings are usable")

    def version() -> None:
        click.echo(f"{name} {importlib.metadata.version('fourmast-common')} (Python {platform.python_version()}, {platform.machine()})")

    options = setting_options(settings_type)
    group.add_command(click.Command("serve", callback=serve, params=options, help=f"Run {name} until SIGTERM or Ctrl-C."))
    config_group = click.Group("config", help="Look at settings without starting.")
    config_group.add_command(
        click.Command("check", callback=check, params=setting_options(settings_type), help="Print every effective setting with its origin.")
    )
    group.add_command(config_group)
    group.add_command(click.Command("version", callback=version, help="Print the version."))
    return group


def setting_options(settings_type: type[PartSettings]) -> list[click.Parameter]:
    """`--config` and one flag for each setting."""
    options: list[click.Parameter] = [
        click.Option(
            ["--config"], type=click.Path(path_type=Path, dir_okay=False), help="YAML file of settings; flags and environment come first."
        )
    ]
    for name, field in settings_type.model_fields.items():
        flag = f"--{name.replace('_', '-')}"
        text = f"{field.description or ''} [default: {field.default}]".strip()
        if field.annotation is bool:
            options.append(click.Option([f"{flag}/--no-{name.replace('_', '-')}"], default=None, help=text))
        elif is_list(field.annotation):
            options.append(click.Option([flag], multiple=True, callback=lambda _, __, value: value or None, help=text))
        else:
            options.append(click.Option([flag], type=_number(field.annotation) or str, help=text))
    return options


def _number(annotation: Any) -> type | None:
    """`int` or `float` for a setting that is one, or may be absent; anything else is text that the settings read."""
    choices = get_args(annotation) if isinstance(annotation, types.UnionType) else (annotation,)
    return next((choice for choice in choices if choice in (int, float)), None)


def serve_components(name: str, found: Effective, build: Callable[[Any], Component | Sequence[Component]]) -> int:
    """Run what `build` makes of the settings in this process until a signal. Returns the exit code."""
    from common.controlz.server import Introspection
    from common.telemetry.logging import set_up_logging
    from common.telemetry.tracing import set_up_tracing

    settings = found.settings
    try:
        settings.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        click.echo(f"{name}: cannot make the state directory {settings.state_dir}: {error.strerror}", err=True)
        return EXIT_CONFIGURATION
    os.umask(0o077)
    sys.setswitchinterval(SWITCH_SECONDS)
    set_up_logging(settings.log_output_level, as_json=settings.log_as_json)
    set_up_tracing(name, settings.trace_otlp_endpoint)

    async def run() -> None:
        built = build(settings)
        components = list(built) if isinstance(built, Sequence) else [built]
        lives = {component.name: Life(component.name) for component in components}
        introspection = Introspection(name, found, lives)
        await host([introspection, *components], {introspection.name: Life(introspection.name), **lives})

    try:
        asyncio.run(run())
    except StartError as error:
        click.echo(f"{name}: {error}", err=True)
        return EXIT_CONFIGURATION
    except KeyboardInterrupt:
        return 0
    except Exception:
        traceback.print_exc()
        return EXIT_INTERNAL
    return 0
