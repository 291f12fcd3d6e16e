# SPDX-License-Identifier: Apache-2.0
"""Network namespaces without names: each lives as long as an open descriptor or a process in it, so that nothing can be left behind.

`ip netns add` would pin a namespace in /run until somebody removes it, also after SIGKILL. Here the kernel removes it, with its interfaces
and rules, when the launcher and the processes that it started are gone.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Final, TypeVar

CLONE_NEWNET: Final = 0x40000000
CLONE_NEWNS: Final = 0x00020000

_libc = ctypes.CDLL(None, use_errno=True)
T = TypeVar("T")


def _check(result: int, call: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{call}: {os.strerror(number)}")


def setns(descriptor: int, kind: int) -> None:
    """Move the calling thread into a namespace."""
    _check(_libc.setns(descriptor, kind), "setns")


def unshare(flags: int) -> None:
    """Give the calling thread namespaces of its own."""
    _check(_libc.unshare(flags), "unshare")


class NetworkNamespace:
    """A network namespace held by a descriptor of this process."""

    def __init__(self) -> None:
        """Make one. Raises OSError (EPERM) where the process may not."""
        self._descriptor = _in_thread(_unshared)

    def fileno(self) -> int:
        return self._descriptor

    @property
    def path(self) -> str:
        """A path by which another process of this user can enter it while this process lives."""
        return f"/proc/{os.getpid()}/fd/{self._descriptor}"

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """Run a block of this thread inside. Never await in it: the whole event loop would be there."""
        home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            setns(self._descriptor, CLONE_NEWNET)
            try:
                yield
            finally:
                setns(home, CLONE_NEWNET)
        finally:
            os.close(home)

    def call(self, function: Callable[[], T]) -> T:
        """Run a blocking function in a thread of its own inside, for libraries that open sockets when they like."""

        def inside() -> T:
            setns(self._descriptor, CLONE_NEWNET)
            return function()

        return _in_thread(inside)

    def socket(self) -> socket.socket:
        """A TCP socket that belongs to the namespace; it stays there wherever it is used."""
        with self.entered():
            return socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def _unshared() -> int:
    unshare(CLONE_NEWNET)
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def _in_thread(function: Callable[[], T]) -> T:
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(function())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run, name="namespace", daemon=True)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]
