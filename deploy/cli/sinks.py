# SPDX-License-Identifier: Apache-2.0
"""Who takes configuration from Galley, and how far each is: a part of `fourmast status`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from common.config.registry import registry
from deploy.cli.connection import connect
from deploy.cli.errors import CliError

_PATH: Final = "/apis/fourmast.io/v1/sinks"
_EXPECTED: Final = ("pilot", "mixer")
_MOST_NAMED: Final = 3

COLUMNS: Final = ("SINK", "NODE", "SINCE", "STATE", "IN SYNC", "BEHIND")

Sink = Mapping[str, Any]


def read_sinks(kubeconfig: str | None) -> Sequence[Sink] | str:
    """The sinks of Galley, or why they are not known: it does not answer now, or the caller is no administrator."""
    try:
        with connect(kubeconfig, patient=False) as galley:
            found: Sequence[Sink] = galley.get(_PATH)["items"]
    except CliError as error:
        return str(error)
    return found


def rows(sinks: Sequence[Sink]) -> Iterator[tuple[str, ...]]:
    """One for each sink, and one for each of Pilot and Mixer that is not there."""
    for sink in sorted(sinks, key=lambda sink: (str(sink["sink"]), str(sink["node"]))):
        behind = [_kind(each) for each in sink["collections"] if each["state"] != "SYNCED"]
        total = len(sink["collections"])
        named = ", ".join(behind[:_MOST_NAMED]) + (f" and {len(behind) - _MOST_NAMED} more" if len(behind) > _MOST_NAMED else "")
        yield sink["sink"], sink["node"], sink["since"], _state(sink), f"{total - len(behind)}/{total}", named or "-"
    for part in _EXPECTED:
        if not any(str(sink[name]).startswith(part) for sink in sinks for name in ("sink", "node")):
            yield part, "-", "-", "not connected", "-", "-"


def refusals(sinks: Sequence[Sink]) -> Iterator[str]:
    """What sinks said of collections that they did not take."""
    for sink in sinks:
        for each in sink["collections"]:
            if each["state"] == "NACK":
                yield f"{sink['sink']} refused {_kind(each)}: {each['reason']}"


def _state(sink: Sink) -> str:
    if any(each["state"] == "NACK" for each in sink["collections"]):
        return "refused"
    return "in sync" if sink["synced"] else "behind"


def _kind(collection: Mapping[str, Any]) -> str:
    known = registry.by_collection(collection["collection"])
    return known.name if known else str(collection["collection"])
