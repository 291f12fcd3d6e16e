# SPDX-License-Identifier: Apache-2.0
"""Which files a command was given: files, directories (every .yaml, .yml and .json below them) and `-` for standard input."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from deploy.cli.errors import CliError

F = TypeVar("F", bound=Callable[..., Any])

STDIN: Final = "-"
_SUFFIXES: Final = (".yaml", ".yml", ".json")

File = tuple[str, bytes]
"""Name as it is shown, and content."""


def files_option(*, required: bool) -> Callable[[F], F]:
    """`-f FILE`, as often as wanted."""
    return click.option(
        "-f",
        "--filename",
        "filenames",
        multiple=True,
        required=required,
        metavar="FILE",
        help="File, directory, or - for standard input; may be repeated.",
    )


def read_files(names: Sequence[str]) -> list[File]:
    """The content of everything named, each file once, directories in the order of their names. Raises CliError."""
    found: dict[str, bytes] = {}
    for name in names:
        if name == STDIN:
            found.setdefault("standard input", sys.stdin.buffer.read())
            continue
        path = Path(name)
        for file in _in_directory(path) if path.is_dir() else [path]:
            try:
                found.setdefault(str(file), file.read_bytes())
            except OSError as error:
                raise CliError(f"cannot read {file}: {error.strerror}") from error
    return list(found.items())


def _in_directory(path: Path) -> list[Path]:
    files = sorted(file for file in path.rglob("*") if file.suffix in _SUFFIXES and file.is_file())
    if not files:
        raise CliError(f"there is no {', '.join(_SUFFIXES)} file in {path}")
    return files
