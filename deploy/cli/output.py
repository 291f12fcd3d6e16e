# SPDX-License-Identifier: Apache-2.0
"""How commands print: JSON and YAML for programs, aligned columns for people."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


def output_option(*formats: str) -> Callable[[F], F]:
    """`-o FORMAT`; the command's `output` is "" when none was asked for."""
    return click.option(
        "-o", "--output", type=click.Choice(formats), callback=lambda _, __, value: value or "", help="Format of the output."
    )


def print_value(value: Any, output: str) -> None:
    """Print plain values as `json` or `yaml`."""
    if output == "json":
        click.echo(json.dumps(value, indent=2, ensure_ascii=False))
        return
    click.echo(as_yaml(value), nl=False)


def as_yaml(value: Any, *, sort_keys: bool = False) -> str:
    """Plain values as YAML."""
    import yaml

    text: str = yaml.dump(value, Dumper=_dumper(yaml), sort_keys=sort_keys, allow_unicode=True, width=120)
    return text


def _dumper(yaml: Any) -> Any:
    """libyaml's writer, with texts of several lines as blocks."""

    class Dumper(yaml.CSafeDumper):  # type: ignore[misc]
        pass

    def text(dumper: Any, value: str) -> Any:
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)

    Dumper.add_representer(str, text)
    return Dumper


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, cell_width: int | None = None) -> None:
    """Columns as wide as their longest cell, three spaces apart, as kubectl has them. Cells longer than `cell_width` are cut."""
    lines = [tuple(columns), *(tuple(_cut(cell, cell_width) for cell in row) for row in rows)]
    widths = [max(len(line[index]) for line in lines) for index in range(len(columns))]
    for line in lines:
        click.echo("   ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def _cut(cell: str, width: int | None) -> str:
    return cell if width is None or len(cell) <= width else f"{cell[: width - 1]}…"


def count(number: int, noun: str) -> str:
    """`1 problem`, `2 problems`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
