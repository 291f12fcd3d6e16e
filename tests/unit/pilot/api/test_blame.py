# SPDX-License-Identifier: Apache-2.0
"""Who is to blame when a resource made of many objects is refused."""

from __future__ import annotations

from common.config.resource import ResourceKey
from pilot.api.blame import blamed

OLD, NEW, NEWER = (ResourceKey("c", "default", name) for name in ("old", "new", "newer"))
SINCE = {OLD: 2, NEW: 6, NEWER: 7}


def test_what_changed_since_the_proxy_took_it() -> None:
    assert blamed((OLD, NEW), 5, SINCE.__getitem__) == (NEW,)
    assert blamed((OLD, NEW, NEWER), 5, SINCE.__getitem__) == (NEW, NEWER), "either may be at fault"


def test_all_when_it_never_took_it() -> None:
    assert blamed((OLD, NEW), 0, SINCE.__getitem__) == (OLD, NEW)


def test_all_when_none_has_changed() -> None:
    assert blamed((OLD,), 5, SINCE.__getitem__) == (OLD,)
