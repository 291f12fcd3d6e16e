# SPDX-License-Identifier: Apache-2.0
"""A figure as every benchmark prints it: one JSON line, beside the limit that was measured in the same run."""

from __future__ import annotations

import json
import os
import platform
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Figure:
    """`limit` is what the best known means to the same end gave in this run (None: there is none); `conditions` is for people."""

    name: str
    value: float
    unit: str
    limit: float | None
    conditions: str

    @property
    def ratio(self) -> float | None:
        return None if not self.limit else round(self.value / self.limit, 3)

    def document(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "value": _rounded(self.value),
            "unit": self.unit,
            "limit": None if self.limit is None else _rounded(self.limit),
            "ratio": self.ratio,
            "conditions": self.conditions,
        }

    def say(self) -> Figure:
        """Print it at once: a benchmark that is cut off has told what it knew."""
        print(json.dumps(self.document()), flush=True)
        return self


def _rounded(number: float) -> float:
    return round(number) if abs(number) >= 1000 else float(f"{number:.3g}")


@lru_cache(maxsize=1)
def machine() -> str:
    """The box, as a figure must name it."""
    model = next((line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")), platform.machine())
    memory = next((int(line.split()[1]) for line in _lines("/proc/meminfo") if line.startswith("MemTotal")), 0)
    return (
        f"{model}, {os.cpu_count()} cores, {memory / 1024 / 1024:.0f} GiB, Linux {platform.release()}, Python {platform.python_version()}"
    )


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []
