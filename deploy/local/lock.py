# SPDX-License-Identifier: Apache-2.0
"""One mesh of a name at a time, and one mesh for each range of loopback addresses.

Locks are flocks: the kernel lets go of them when their holder dies, however it dies.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from deploy.local.plan import MOST_SLOTS


class MeshRunning(Exception):
    """Another launcher holds what this one needs; the message says which and what to do."""


def runtime_folder() -> Path:
    """Where running meshes are found: /run/fourmast for root, the user's runtime directory, or one in the temporary folder."""
    base = os.environ.get("FOURMAST_RUNTIME_DIR") or ("/run/fourmast" if os.geteuid() == 0 else "")
    if not base:
        runtime = os.environ.get("XDG_RUNTIME_DIR")
        base = f"{runtime}/fourmast" if runtime else f"{tempfile.gettempdir()}/fourmast-{os.geteuid()}"
    folder = Path(base)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.stat().st_uid != os.geteuid():
        raise PermissionError(f"{folder} belongs to another user; set FOURMAST_RUNTIME_DIR to a folder of yours")
    return folder


@contextlib.contextmanager
def mesh_lock(name: str, state_dir: Path) -> Iterator[None]:
    """Hold the mesh name while the block lasts. Raises MeshRunning."""
    path = runtime_folder() / f"{name}.json"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise MeshRunning(_who(path, name)) from None
        about = {"name": name, "pid": os.getpid(), "stateDir": str(state_dir.resolve()), "since": time.time()}
        os.ftruncate(descriptor, 0)
        os.write(descriptor, json.dumps(about).encode())
        yield
        os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)


def running() -> list[dict[str, Any]]:
    """The meshes that run for this user: name, pid, stateDir, since."""
    found = []
    for path in sorted(runtime_folder().glob("*.json")):
        with contextlib.suppress(OSError, ValueError), path.open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                found.append(json.loads(file.read()))
    return found


@contextlib.contextmanager
def loopback_slot() -> Iterator[int]:
    """The first free range of loopback addresses for a mesh in none mode, held while the block lasts. Raises MeshRunning."""
    folder = runtime_folder()
    for slot in range(MOST_SLOTS):
        descriptor = os.open(folder / f"loopback-{slot}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            yield slot
            return
        finally:
            os.close(descriptor)
    raise MeshRunning(f"all {MOST_SLOTS} ranges of loopback addresses are in use; stop a mesh with `fourmast down`")


def _who(path: Path, name: str) -> str:
    try:
        about = json.loads(path.read_text())
        since = time.strftime("%H:%M:%S", time.localtime(about["since"]))
        return (
            f"a mesh named {name} already runs: process {about['pid']}, since {since}, state in {about['stateDir']}. "
            f"Stop it with `fourmast down {name}` (or Ctrl-C where it was started), or give this mesh another name."
        )
    except (OSError, ValueError, KeyError):
        return f"a mesh named {name} already starts or runs; give this one another name or stop the other with `fourmast down {name}`"
