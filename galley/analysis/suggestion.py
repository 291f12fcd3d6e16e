# SPDX-License-Identifier: Apache-2.0
"""`; did you mean "ratings"?`: hosts that look like one that nobody has.

Comparing spellings is slow, so only so many findings of an analysis get a suggestion, and none in a mesh of many hosts. Which ones do
depends on all findings before: analysers only say what they would like, and it is added when all findings are there.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import Final, NamedTuple

import msgspec

from common.mesh.names import SERVICE_DOMAIN
from galley.analysis.finding import Finding
from galley.analysis.view import View

_MOST_HOSTS_TO_COMPARE: Final = 500
_MOST_SUGGESTIONS: Final = 100


class UnknownHost(NamedTuple):
    """A finding about a host that is not known in a namespace."""

    finding: Finding
    host: str
    namespace: str


Found = Finding | UnknownHost


def with_suggestions(view: View, found: Iterable[Found]) -> Iterator[Finding]:
    """The findings, the first ones about unknown hosts with a host that looks like it, if there is one."""
    near = view.once(_near_hosts) if len(view.hosts) <= _MOST_HOSTS_TO_COMPARE else None
    suggested = 0
    for each in found:
        if isinstance(each, Finding):
            yield each
        elif near is None or suggested >= _MOST_SUGGESTIONS:
            yield each.finding
        else:
            suggested += 1
            yield msgspec.structs.replace(each.finding, message=each.finding.message + near(each.host, each.namespace))


def _near_hosts(view: View) -> Callable[[str, str], str]:
    """A function that remembers its answers while the hosts are the same."""
    known = [each.host for each in view.hosts]

    @lru_cache(maxsize=_MOST_SUGGESTIONS)
    def near(host: str, namespace: str) -> str:
        suffix = f".{namespace}.{SERVICE_DOMAIN}"
        found = difflib.get_close_matches(host, sorted({each.removesuffix(suffix) for each in known}), 1, cutoff=0.75)
        return f'; did you mean "{found[0]}"?' if found else ""

    return near
