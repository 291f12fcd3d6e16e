# SPDX-License-Identifier: Apache-2.0
"""Processes of a mesh: started in their place, logged to a file, stopped in order, and never left behind."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import structlog

import deploy
from deploy.local import enter

log = structlog.get_logger("local")

KILL_AFTER = 8.0  # seconds from SIGTERM to SIGKILL; a sidecar drains for up to 5


def installation() -> tuple[str, ...]:
    """What a process without privileges must be able to read to run this installation's Python: often it lies below a closed /root."""
    project = Path(deploy.__file__).resolve().parent.parent
    return tuple(sorted({str(Path(path).resolve()) for path in (sys.prefix, sys.base_prefix, project)}))


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a process runs. The default is the launcher's own place, with the launcher's user."""

    network: str = ""
    """Path of a network namespace; empty: the launcher's."""
    mounts: bool = False
    """A mount namespace of its own, with `hide`, `keep` and `binds`."""
    hide: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()
    binds: Mapping[str, str] = field(default_factory=dict)
    uid: int | None = None
    gid: int | None = None
    folder: str = "/"
    environment: Mapping[str, str] = field(default_factory=dict)

    def command(self, command: Sequence[str]) -> list[str]:
        """The command line that starts `command` here, tied to the life of this process."""
        wanted = asdict(self) | {"parent": os.getpid(), "command": list(command), "binds": dict(self.binds)}
        del wanted["environment"]
        return [sys.executable, "-I", "-S", enter.__file__, json.dumps(wanted)]


class Process:
    """One process that can be stopped, killed and started again."""

    def __init__(self, name: str, command: Sequence[str], place: Place, log_file: Path) -> None:
        self.name = name
        self.command = tuple(command)
        self.place = place
        self.log_file = log_file
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int | None:
        """None when it does not run."""
        return self._process.pid if self._process is not None and self._process.returncode is None else None

    @property
    def exit_code(self) -> int | None:
        return None if self._process is None else self._process.returncode

    async def start(self) -> None:
        if self.pid is not None:
            return
        with self.log_file.open("ab") as output:
            self._process = await asyncio.create_subprocess_exec(
                *self.place.command(self.command),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=dict(self.place.environment),
                start_new_session=True,  # Ctrl-C in the terminal is the launcher's alone
            )

    async def stop(self, grace: float = KILL_AFTER) -> None:
        """SIGTERM, and SIGKILL to its whole session after `grace` seconds."""
        if self._process is None or self._process.returncode is not None:
            return
        self._signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(self._process.wait(), grace)
        except TimeoutError:
            if grace >= KILL_AFTER:  # who gives less time expects this
                log.warning("did not stop in time", process=self.name, grace_seconds=grace)
        await self.kill()

    async def kill(self) -> None:
        """SIGKILL, to everything that it started in its session as well."""
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        await self._process.wait()

    async def wait(self) -> int:
        if self._process is None:
            raise RuntimeError(f"{self.name} was never started")
        return await self._process.wait()

    def last_lines(self, count: int = 15) -> str:
        """The end of its log, for a message that says why it failed."""
        with contextlib.suppress(OSError):
            return "\n".join(self.log_file.read_text(errors="replace").splitlines()[-count:])
        return ""

    def _signal(self, number: int) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)
