# SPDX-License-Identifier: Apache-2.0
"""Freed memory stays while there is work and goes when there is none; in a process of its own, because it holds for a whole process."""

from __future__ import annotations

import subprocess
import sys

MEGABYTES = 64
PROGRAM = f"""
import os, sys
from pilot.api.memory import give_back, keep_heap

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE") >> 20

if "keep" in sys.argv:
    keep_heap()
before = resident()
held = [b"x" * (1 << 20) for _ in range({MEGABYTES})]
del held
freed = resident() - before
give_back()
print(freed, resident() - before)
"""


def megabytes(*arguments: str) -> tuple[int, int]:
    """Resident beyond the beginning: after much was freed, and after it was given back."""
    found = subprocess.run([sys.executable, "-c", PROGRAM, *arguments], capture_output=True, text=True, check=True)
    freed, given_back = map(int, found.stdout.split())
    return freed, given_back


def test_freed_memory_stays_until_it_is_given_back() -> None:
    freed, given_back = megabytes("keep")
    assert freed > MEGABYTES * 0.8 and given_back < MEGABYTES * 0.2
    assert megabytes()[0] < MEGABYTES * 0.2, "without it the C library returns blocks of this size at once: then this test shows nothing"
