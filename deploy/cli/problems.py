# SPDX-License-Identifier: Apache-2.0
"""How mistakes in files are shown: place, sentence, and the line itself with a mark under it, as compilers do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import click

from common.config.problem import Problem


def print_problem(file: str, resource: str, found: Problem, texts: Mapping[str, bytes]) -> None:
    """`reviews.yaml:10:13: VirtualService default/reviews`, the sentence, and the source line."""
    place = ":".join(str(part) for part in (file, found.line, found.column) if part)
    click.echo(f"{click.style(place, bold=True)}: {resource}", err=True)
    click.echo(f"    {click.style(str(found), fg='red')}", err=True)
    for line in _excerpt(texts.get(file, b""), found):
        click.echo(line, err=True)


def _excerpt(text: bytes, found: Problem) -> Sequence[str]:
    if found.line is None:
        return ()
    lines = text.decode("utf-8-sig", errors="replace").splitlines()
    if not 1 <= found.line <= len(lines):
        return ()
    source = "".join(each if each.isprintable() or each == "\t" else "\ufffd" for each in lines[found.line - 1].rstrip())
    if len(source) > 160:
        return ()
    number = f"{found.line:>5}"
    excerpt = [f"{number} | {source}"]
    if found.column is not None and found.column <= len(source):
        indent = "".join(character if character == "\t" else " " for character in source[: found.column - 1])
        excerpt.append(f"{' ' * len(number)} | {indent}^")
    return excerpt
