# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilot.xds.queue import Admission, Changes, Gate


def test_a_single_change_is_built_at_once() -> None:
    changes = Changes()
    assert changes.due() == math.inf
    changes.arrived(5.0)
    assert changes.due() <= 5.0
    assert changes.begin(5.0) == 5.0
    assert changes.due() == math.inf


def test_what_comes_during_a_build_waits_for_its_end_and_for_the_interval() -> None:
    changes = Changes(interval=0.1)
    changes.arrived(5.0)
    changes.begin(5.0)
    changes.arrived(5.01)
    changes.arrived(5.02)
    assert changes.due() == math.inf
    changes.done()
    assert changes.due() == pytest.approx(5.1)
    assert changes.begin(5.1) == 5.01, "convergence is counted from the first change of the build"


def test_quiet_is_waited_for_but_not_for_ever() -> None:
    changes = Changes(interval=0, quiet=1.0, longest=3.0)
    for second in range(6):
        changes.arrived(float(second))
        assert changes.due() == min(second + 1.0, 3.0)


def test_a_build_of_nothing_is_a_mistake() -> None:
    with pytest.raises(RuntimeError):
        Changes().begin(0.0)


@given(st.lists(st.floats(0, 0.3), max_size=60))
def test_snapshots_keep_their_distance_and_no_change_is_forgotten(pauses: list[float]) -> None:
    changes = Changes(interval=0.1)
    now = 100.0
    built: list[float] = []
    for pause in pauses:
        now += pause
        while changes.due() <= now:
            at = max(changes.due(), built[-1] if built else 0.0)
            changes.begin(at)
            changes.done()
            built.append(at)
        changes.arrived(now)
    if changes.due() < math.inf:
        built.append(max(changes.due(), now))
    assert all(later - earlier >= 0.1 - 1e-9 for earlier, later in pairwise(built))
    assert not pauses or built[-1] >= now


def test_a_gate_closes_behind_whoever_passes() -> None:
    gate = Gate(0.1)
    assert gate.is_open(0.0)
    gate.passed(7.0)
    assert not gate.is_open(7.05) and gate.is_open(7.1)


def test_a_storm_waits_in_line_and_a_trickle_does_not() -> None:
    admission = Admission(rate=10, burst=2)
    assert [admission.wait(0.0) for _ in range(5)] == pytest.approx([0, 0, 0.1, 0.2, 0.3])
    assert admission.wait(10.0) == 0
