# SPDX-License-Identifier: Apache-2.0
"""The quick search for overlapping hosts finds what comparing all pairs finds."""

from __future__ import annotations

from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from galley.validation import hosts
from galley.validation.overlaps import overlaps

HOSTS = st.lists(st.text("ab.", min_size=1, max_size=3).flatmap(lambda name: st.sampled_from([name, f"*{name}", f"*.{name}"])), max_size=8)


@given(HOSTS | st.lists(st.sampled_from(["*", "a.b", "*.b", "A.b", "b", "*b"]), max_size=5))
def test_the_same_names_overlap_as_when_all_pairs_are_compared(names: list[str]) -> None:
    pairs = overlaps([hosts.sort_key(name) for name in names])
    assert all(earlier < later and hosts.matches(names[earlier], names[later]) for later, earlier in pairs)
    paired = {index for pair in combinations(range(len(names)), 2) if hosts.matches(names[pair[0]], names[pair[1]]) for index in pair}
    assert {index for pair in pairs for index in pair} <= paired
    assert bool(pairs) is bool(paired)
    # Whoever mends what is said, one host after another, ends with a list without overlaps.
    left = [name for index, name in enumerate(names) if index not in {later for later, _ in pairs}]
    again = overlaps([hosts.sort_key(name) for name in left])
    assert len(again) < max(1, len(pairs))
