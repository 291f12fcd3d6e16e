# SPDX-License-Identifier: Apache-2.0
"""`fourmast demo`, `up`, `down`: this process becomes the launcher, because the command line composes no parts itself."""

from __future__ import annotations

import os
import signal
import sys
from typing import NoReturn

import click

_PASS_ON = {"ignore_unknown_options": True, "help_option_names": []}


def _become(module: str, arguments: tuple[str, ...]) -> NoReturn:
    """Ctrl-C waits until the launcher can take it: in the second that its imports need, it would end with a traceback."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    os.execv(sys.executable, [sys.executable, "-m", module, *arguments])  # noqa: S606 - our own interpreter and module


@click.command(context_settings=_PASS_ON, add_help_option=False)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def demo(arguments: tuple[str, ...]) -> None:
    """Show everything: a whole mesh on this machine, expected against observed."""
    _become("deploy.local.demo", arguments)


@click.command(context_settings=_PASS_ON, add_help_option=False)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def up(arguments: tuple[str, ...]) -> None:
    """Start the mesh that a mesh.yaml describes."""
    _become("deploy.local", ("up", *arguments))


@click.command(context_settings=_PASS_ON, add_help_option=False)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def down(arguments: tuple[str, ...]) -> None:
    """Stop a running mesh."""
    _become("deploy.local", ("down", *arguments))
