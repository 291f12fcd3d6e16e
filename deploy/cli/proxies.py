# SPDX-License-Identifier: Apache-2.0
"""Proxies by the names that people use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from deploy.cli.errors import CliError


def name_of(row: Mapping[str, Any]) -> str:
    """The name in a row of /debug/syncz: `sidecar~10.0.0.1~reviews.default~…` -> `reviews.default`."""
    parts = str(row["proxy"]).split("~")
    return parts[2] if len(parts) > 2 else parts[0]


def find_proxies(rows: Sequence[Mapping[str, Any]], name: str) -> list[Mapping[str, Any]]:
    """Those called `name` or `name.namespace`. Raises CliError when there is none."""
    found = [row for row in rows if name in (name_of(row), name_of(row).rpartition(".")[0])]
    if not found:
        raise CliError(f"proxy {name!r} is not connected to Pilot; `fourmast proxy-status` lists those that are")
    return found


def find_proxy(rows: Sequence[Mapping[str, Any]], name: str) -> Mapping[str, Any]:
    """The one called so. Raises CliError when there is none, or when namespaces have one each."""
    found = find_proxies(rows, name)
    names = sorted({name_of(row) for row in found})
    if len(names) > 1:
        raise CliError(f"which proxy? {' or '.join(names)}", exit_code=2)
    return found[-1]
