# SPDX-License-Identifier: Apache-2.0
"""What a row of the demo is: a cause, an expectation in words, and how to look."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from deploy.local.demo.world import World


class Observation(NamedTuple):
    """What was seen, in words with figures, and whether it is what the row expects."""

    ok: bool
    text: str


class Row(NamedTuple):
    """One row. `config` names files of the samples that are in force while it is observed, later ones replacing earlier objects.

    `cause` are those of `config` that sabotage leaves out; a row whose cause is not configuration looks at `world.sabotaged` itself.
    """

    name: str
    title: str
    expected: str
    config: tuple[str, ...]
    cause: tuple[str, ...]
    observe: Callable[[World], Awaitable[Observation]]


class Result(NamedTuple):
    """A row as it went; the JSON contract of `fourmast demo --once -o json`."""

    row: str
    title: str
    expected: str
    observed: str
    ok: bool
    seconds: float
