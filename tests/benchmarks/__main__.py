# SPDX-License-Identifier: Apache-2.0
"""Measure: `make bench`, or `python -m tests.benchmarks [NAME] [--quick]`. One JSON line for each figure, its limit measured in the same run.

`--quick` measures less of the same, to see that it works; its figures say so and mean nothing. The other options are for benchmarks whose
`main` takes them.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import inspect
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.benchmarks.figure import machine

NOT_MEASURED = ("__init__", "__main__", "figure")
ONLY_NAMED = frozenset({"xds_growth", "xds_istio", "xds_sovereign"})  # takes long and writes into docs/; needs a binary; installs from PyPI


def names() -> list[str]:
    """Modules of this folder that have a `main`, which takes `quick` if it can be."""
    found = sorted(path.stem for path in Path(__file__).parent.glob("*.py") if path.stem not in NOT_MEASURED)
    return [name for name in found if re.search(r"^(async )?def main\(", (Path(__file__).parent / f"{name}.py").read_text(), re.MULTILINE)]


def main() -> int:
    known = names()
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("name", nargs="*", help=f"one of {', '.join(known)}; all of them if none is given")
    parser.add_argument("--quick", action="store_true", help="see that it works; the figures mean nothing")
    parser.add_argument("--binary", type=Path, help="what to measure beside ours (xds_istio)")
    parser.add_argument("--proxies", type=int, help="how many (xds, xds_istio)")
    parser.add_argument("--services", type=int, help="how many (xds, xds_istio)")
    arguments = parser.parse_args()
    if unknown := sorted(set(arguments.name) - set(known)):
        parser.error(f"there is no benchmark {', '.join(unknown)}; there are {', '.join(known)}")
    given = {name: getattr(arguments, name) for name in ("binary", "proxies", "services") if getattr(arguments, name) is not None}
    print(f"# {machine()}", file=sys.stderr)
    worst = 0
    for name in arguments.name or [name for name in known if name not in ONLY_NAMED]:
        measure: Callable[..., Any] = importlib.import_module(f"tests.benchmarks.{name}").main
        try:
            found = measure(**({"quick": arguments.quick} if "quick" in inspect.signature(measure).parameters else {}), **given)
            if inspect.iscoroutine(found):
                found = asyncio.run(found)
            worst = max(worst, found or 0)
        except Exception as error:  # the others are measured all the same
            worst = max(worst, 1)
            print(f"# {name} failed: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
    return worst


if __name__ == "__main__":
    sys.exit(main())
