# SPDX-License-Identifier: Apache-2.0
"""Tutorial pages, executed as written.

A page's fenced blocks are its script:

    ```sh terminal=galley     starts its commands in a terminal of that name and leaves them running
    ```sh                     runs to its end, in the terminal "you"; it is tried again for a few seconds until the output fits
    ```text                   what the block above prints, line by line; `...` stands for anything

What the terminal "you" exports it keeps. All terminals share one working directory. What a terminal finds first on its PATH is the caller's business.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

FENCE = re.compile(r"^```(?P<info>[^\n]*)\n(?P<body>.*?)^```", re.MULTILINE | re.DOTALL)
PATIENCE = 60.0  # seconds until a block's output must fit; a mesh starts meanwhile
YOU = "you"


class Block(NamedTuple):
    """One step of a page; `expected` is None where the page shows no output."""

    terminal: str
    script: str
    expected: str | None
    line: int


def blocks(page: str) -> Iterator[Block]:
    """The steps of a page, in order."""
    found = list(FENCE.finditer(page))
    for index, match in enumerate(found):
        words = match["info"].split()
        if not words or words[0] != "sh":
            continue
        options = dict(word.split("=", 1) for word in words[1:])
        after = found[index + 1] if index + 1 < len(found) else None
        expected = after["body"] if after and after["info"].split()[:1] == ["text"] else None
        yield Block(options.get("terminal", YOU), match["body"], expected, page[: match.start()].count("\n") + 1)


def fits(expected: str, output: str) -> bool:
    """Whether each expected line is found in the output, in order; `...` stands for anything."""
    position = 0
    lines = output.splitlines()
    for line in filter(None, (text.strip() for text in expected.splitlines())):
        if line == "...":
            continue
        pattern = re.compile(".*?".join(re.escape(part) for part in re.split(r"\s*\.\.\.\s*", line)))
        for offset, candidate in enumerate(lines[position:]):
            if pattern.search(candidate):
                position += offset + 1
                break
        else:
            return False
    return True


class PageFailure(AssertionError):
    """A step of a page did not do what the page says."""


class Reader:
    """Someone at the terminals, who types what the page says."""

    def __init__(self, folder: Path, paths: Mapping[str, str], environment: Mapping[str, str] = MappingProxyType({})) -> None:
        """`paths` gives each terminal its PATH; `you` is the reader's own. All terminals have `environment` besides."""
        self._folder, self._paths, self._more = folder, paths, environment
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._exports: list[str] = []

    def follow(self, page: Path) -> int:
        """Do the whole page; returns the number of steps done. Raises PageFailure with what was printed."""
        count = 0
        for block in blocks(page.read_text(encoding="utf-8")):
            where = f"{page.name}:{block.line}"
            if block.terminal != YOU:
                self._start(block)
            else:
                self._run(block, where)
            count += 1
        return count

    def _environment(self, terminal: str) -> dict[str, str]:
        path = self._paths.get(terminal, self._paths[YOU])
        kept = {name: value for name, value in os.environ.items() if name in ("HOME", "LANG", "TMPDIR")}
        return {**kept, "PATH": f"{path}:{os.environ['PATH']}", "PYTHONDONTWRITEBYTECODE": "1", **self._more}

    def _start(self, block: Block) -> None:
        log = (self._folder / f"{block.terminal}.log").open("ab")
        script = f"set -e\n{block.script}"
        self._running[block.terminal] = subprocess.Popen(
            ["bash", "-c", script], cwd=self._folder, env=self._environment(block.terminal), stdout=log, stderr=log, start_new_session=True
        )
        log.close()

    def _run(self, block: Block, where: str) -> None:
        end = time.monotonic() + PATIENCE
        script = "\n".join((*self._exports, block.script))
        self._exports += [line for line in block.script.splitlines() if line.startswith("export ")]
        while True:
            done = subprocess.run(
                ["bash", "-ec", script],
                cwd=self._folder,
                env=self._environment(YOU),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=120,
                check=False,
            )
            output = done.stdout
            if fits(block.expected, output) if block.expected is not None else done.returncode == 0:
                return
            if time.monotonic() > end:
                raise PageFailure(f"{where}: exit {done.returncode}; expected\n{block.expected}\nprinted\n{output}\n{self._logs()}")
            time.sleep(0.5)

    def _logs(self) -> str:
        tails = []
        for terminal in self._running:
            text = (self._folder / f"{terminal}.log").read_text(encoding="utf-8", errors="replace")
            tails.append(f"--- terminal {terminal}\n{text[-1500:]}")
        return "\n".join(tails)

    def close(self) -> None:
        """Ctrl-C in every terminal, last one first; whoever does not leave within ten seconds is ended."""
        for process in reversed(self._running.values()):
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGINT)
        for process in self._running.values():
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
