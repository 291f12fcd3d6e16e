# SPDX-License-Identifier: Apache-2.0
"""`--suppress CODE=RESOURCE`: findings that somebody has looked at and does not want to see again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from common.config.resource import ResourceKey
    from galley.analysis import Finding

F = TypeVar("F", bound=Callable[..., Any])


class Suppression:
    """Patterns of codes and resources; `*` and `?` stand for anything in both."""

    def __init__(self, wishes: Sequence[tuple[str, str]]) -> None:
        self._wishes = wishes

    def covers(self, found: Finding) -> bool:
        names = _spellings(found.resource)
        return any(fnmatchcase(found.code, code) and any(fnmatchcase(name, resource) for name in names) for code, resource in self._wishes)


def _spellings(key: ResourceKey | None) -> tuple[str, ...]:
    """`VirtualService default/reviews`, and as istioctl has it `VirtualService reviews.default`."""
    if key is None:
        return ("",)
    kind = str(key).partition(" ")[0]
    return (str(key), f"{kind} {key.name}.{key.namespace}") if key.namespace else (str(key),)


def _parse(_: click.Context, __: click.Parameter, texts: tuple[str, ...]) -> Suppression:
    wishes = []
    for text in texts:
        code, equals, resource = text.partition("=")
        if not equals:
            raise click.BadParameter(f"{text!r} is not of the form CODE=RESOURCE, for example 'IST0101=VirtualService default/*'")
        wishes.append((code, resource))
    return Suppression(wishes)


def suppress_option(command: F) -> F:
    """`-S CODE=RESOURCE`, as often as wanted; the command's `suppress` is a Suppression."""
    return click.option(
        "-S",
        "--suppress",
        multiple=True,
        metavar="CODE=RESOURCE",
        callback=_parse,
        help="Leave out, e.g. 'IST0101=VirtualService default/*'; may be repeated.",
    )(command)
