# SPDX-License-Identifier: Apache-2.0
"""The lanes of `make lint`, `make test` and `make ci`: what runs, in which order, against which budget of seconds."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent


class Lane(NamedTuple):
    """One command line; `budget` is in seconds on two cores."""

    name: str
    budget: int
    command: tuple[str, ...]


def _tool(name: str, *arguments: str) -> tuple[str, ...]:
    return (str(BIN / name), *arguments)


ORDERED = ("-p", "no:randomly")  # a mesh is shared: rows first, faults last


def _pytest(*arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-m", "pytest", "-q", "-rs", "--no-header", *arguments)


LINT = (
    Lane("format", 10, _tool("ruff", "format", "--check", "--quiet", ".")),
    Lane("ruff", 10, _tool("ruff", "check", "--quiet", ".")),
    Lane("import contracts", 30, _tool("lint-imports", "--cache-dir", ".cache/import-linter")),
    Lane("envoy stubs", 30, (sys.executable, "-m", "tests.envoy_stubs")),
    Lane("types", 150, _tool("mypy")),
)
UNIT = Lane("unit", 120, _pytest("-n", "2", "tests/unit"))
INTEGRATION = Lane("integration", 280, _pytest("tests/integration"))
WHEELS = Lane("wheels", 120, _pytest("tests/e2e/test_wheels.py"))


LOOPBACK = Lane("e2e none", 120, _pytest(*ORDERED, "tests/e2e/test_1_rows.py", "-k", "holds", "--interception=none"))


def _mesh(control_plane: str, *options: str) -> Lane:
    name = f"e2e {control_plane} {' '.join(options)}".rstrip()
    return Lane(
        name, 330, _pytest(*ORDERED, "tests/e2e", "--ignore=tests/e2e/test_wheels.py", f"--control-plane={control_plane}", *options)
    )


def _plan(verb: str, full: bool) -> tuple[Lane, ...]:
    if verb == "lint":
        return LINT
    if verb == "test":
        return (UNIT, INTEGRATION)
    meshes: tuple[Lane, ...] = (_mesh("split"), _mesh("istiod"))
    if full:
        meshes += (_mesh("split", "--interception=none"), _mesh("istiod", "--interception=none"))
    else:
        meshes += (LOOPBACK,)
    return (*LINT, UNIT, INTEGRATION, WHEELS, *meshes)


def main(verb: str) -> int:
    full = bool(os.environ.get("FULL"))
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "FOURMAST_RUN": str(time.time_ns())}
    if verb == "ci":
        environment["FOURMAST_NO_SKIPS"] = "1"
    (ROOT / ".cache").mkdir(exist_ok=True)
    rows: list[str] = []
    counted = {"passed": 0, "failed": 0, "skipped": 0}
    broken = 0
    for lane in _plan(verb, full):
        print(f"--- {lane.name}", flush=True)
        began = time.monotonic()
        code, output = _run(lane.command, environment)
        seconds = time.monotonic() - began
        for word in counted:
            counted[word] += sum(int(n) for n in re.findall(rf"(\d+) {word}", output.rstrip().rpartition("\n")[2]))
        counted["failed"] += bool(code) and not re.search(r"\d+ failed", output)
        broken += bool(code)
        late = "  OVER BUDGET" if seconds > lane.budget else ""
        rows.append(f"{'ok  ' if code == 0 else 'FAIL'} {lane.name:<18} {seconds:6.1f} s of {lane.budget} s{late}")
    print("\n" + "\n".join(rows))
    print(f"{counted['passed']} passed, {counted['failed']} failed, {counted['skipped']} skipped")
    return 1 if broken else 0


def _run(command: tuple[str, ...], environment: dict[str, str]) -> tuple[int, str]:
    """Run with its output passed on as it comes; return the exit code and the output."""
    lines: list[str] = []
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            lines.append(line)
    return process.returncode, "".join(lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
