# SPDX-License-Identifier: Apache-2.0
"""A program that becomes another, tied to the life of its parent: `python -I -S tether.py PARENT_PID PROGRAM ARGUMENT…`.

An Envoy that outlives its agent keeps ports and serves with a certificate that nobody renews. The kernel ends it with the agent, also
after SIGKILL. This is a program and not a `preexec_fn`, because code between fork and exec can deadlock beside gRPC's threads.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> None:
    parent, program, *rest = arguments
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        sys.exit("tether: the kernel does not know PR_SET_PDEATHSIG")
    if os.getppid() != int(parent):  # it died before the kernel knew
        sys.exit("tether: the parent is gone")
    try:
        os.execv(program, [program, *rest])  # noqa: S606 - no shell is wanted
    except OSError as error:
        sys.exit(f"tether: {program}: {error.strerror}")


if __name__ == "__main__":
    main(sys.argv[1:])
