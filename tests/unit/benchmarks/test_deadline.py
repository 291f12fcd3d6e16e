# SPDX-License-Identifier: Apache-2.0
"""Parts that fail or take too long are left out, the others are measured, and the run says that it failed."""

from __future__ import annotations

import contextlib
import time

import pytest

from tests.benchmarks.deadline import Deadline


def _endless() -> None:
    while True:
        with contextlib.suppress(OSError):  # as networking code does
            time.sleep(1)


def test_a_part_that_hangs_costs_its_time_and_not_the_others() -> None:
    done: list[str] = []
    deadline = Deadline(60)
    deadline.run("endless", _endless, seconds=0.05)
    deadline.run("broken", lambda: 1 / 0, seconds=1)
    deadline.run("good", lambda: done.append("good"), seconds=1)
    assert done == ["good"]
    with pytest.raises(RuntimeError, match=r"endless: Late: .*; broken: ZeroDivisionError"):
        deadline.close()


def test_nothing_begins_when_the_whole_time_is_over() -> None:
    done: list[str] = []
    deadline = Deadline(0)
    deadline.run("late", lambda: done.append("late"), seconds=1)
    assert not done and deadline.failures == ["late: no time is left for it"]


def test_a_good_run_closes_in_peace() -> None:
    deadline = Deadline(60)
    deadline.run("good", lambda: None, seconds=1)
    deadline.close()
