# SPDX-License-Identifier: Apache-2.0
"""A program that becomes a process of the mesh: `python -I -S enter.py SPECIFICATION` (JSON, see Specification in processes.py).

It enters the workload's network namespace, gives itself a private view of the file system, drops every privilege, ties its life to the
launcher's, and executes the command. It imports only what starts in milliseconds, and nothing of Fourmast: it runs as root for a moment.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
from typing import Any

CLONE_NEWNS, CLONE_NEWNET = 0x00020000, 0x40000000
MS_BIND, MS_REC, MS_PRIVATE, MS_NOSUID, MS_NODEV = 4096, 16384, 1 << 18, 2, 4
PR_SET_PDEATHSIG, PR_SET_NO_NEW_PRIVS = 1, 38

_libc = ctypes.CDLL(None, use_errno=True)


def _call(name: str, *arguments: object) -> None:
    if getattr(_libc, name)(*arguments) != 0:
        number = ctypes.get_errno()
        sys.exit(f"enter: {name}: {os.strerror(number)}")


def _mount(source: str, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    encoded = [text.encode() if text is not None else None for text in (source, target, kind)]
    _call("mount", *encoded, ctypes.c_ulong(flags), data.encode() if data is not None else None)


def blocked(path: str, uid: int) -> str | None:
    """The first folder above `path` that `uid` may not pass, such as /root when the project is cloned there."""
    folder = "/"
    for part in os.path.dirname(path).split("/"):
        folder = os.path.join(folder, part)
        status = os.stat(folder)
        if not status.st_mode & 0o001 and status.st_uid != uid:
            return folder
    return None


def own_view(hide: list[str], keep: list[str], binds: dict[str, str], uid: int) -> None:
    """A mount namespace in which `hide` is empty, `keep` can be reached by `uid` though the folders above are closed, `binds` replaced."""
    _call("unshare", CLONE_NEWNS)
    _mount("none", "/", None, MS_REC | MS_PRIVATE)
    keep = sorted({os.path.realpath(path) for path in keep})
    opened = {path: os.open(path, os.O_PATH | os.O_CLOEXEC) for path in keep}
    sources = {target: os.open(source, os.O_PATH | os.O_CLOEXEC) for target, source in binds.items()}
    covered = {os.path.realpath(path) for path in hide if os.path.isdir(path)}
    covered |= {folder for path in keep if (folder := blocked(path, uid)) is not None}
    for folder in sorted(covered):
        if not any(folder.startswith(other + "/") for other in covered):
            _mount("tmpfs", folder, "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755,size=16m")
    for path in keep:
        if any(path.startswith(folder + "/") for folder in covered) and not os.path.lexists(path):
            if os.path.isdir(f"/proc/self/fd/{opened[path]}"):
                os.makedirs(path, mode=0o755)
            else:
                os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
                os.close(os.open(path, os.O_CREAT, 0o644))
            _mount(f"/proc/self/fd/{opened[path]}", path, None, MS_BIND | MS_REC)
    for target, descriptor in sources.items():
        _mount(f"/proc/self/fd/{descriptor}", target, None, MS_BIND)


def main(text: str) -> None:
    wanted: dict[str, Any] = json.loads(text)
    if wanted["network"]:
        _call("setns", os.open(wanted["network"], os.O_RDONLY | os.O_CLOEXEC), CLONE_NEWNET)
    if wanted["mounts"]:
        own_view(wanted["hide"], wanted["keep"], wanted["binds"], wanted["uid"])
    if wanted["uid"] is not None:
        os.setgroups([])
        os.setresgid(wanted["gid"], wanted["gid"], wanted["gid"])
        os.setresuid(wanted["uid"], wanted["uid"], wanted["uid"])
    _call("prctl", PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    _call("prctl", PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)  # after the change of user, which would clear it
    if os.getppid() != wanted["parent"]:
        sys.exit("enter: the launcher is gone")
    os.umask(0o077)
    command = wanted["command"]
    try:
        os.chdir(wanted["folder"])
    except OSError as error:
        sys.exit(f"enter: user {os.getuid()} cannot start in {wanted['folder']}: {error.strerror}; let others read it (chmod 755)")
    try:
        os.execvp(command[0], command)  # noqa: S606 - no shell is wanted
    except OSError as error:
        sys.exit(f"enter: {command[0]}: {error.strerror}")


if __name__ == "__main__":
    main(sys.argv[1])
