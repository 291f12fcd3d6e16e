# SPDX-License-Identifier: Apache-2.0
"""A log file that is set aside when it is large or old, and of whose old ones only some are kept."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path


class RotatingFile:
    """`max_bytes`, `max_age` (seconds) and `max_files` of zero mean no limit. Old files are `name-<time>.ext`. Not for several threads at once."""

    def __init__(self, path: Path, *, max_bytes: int, max_age: float, max_files: int, wall: Callable[[], float]) -> None:
        self._path, self._max_bytes, self._max_age, self._max_files, self._wall = path, max_bytes, max_age, max_files, wall
        self._descriptor = self._open()

    def write(self, lines: bytes) -> None:
        """Append whole lines; they are never torn over two files."""
        if self._is_due(len(lines)):
            os.close(self._descriptor)
            self._path.rename(self._set_aside())
            self._descriptor = self._open()
            self._prune()
        view = memoryview(lines)
        while view:
            view = view[os.write(self._descriptor, view) :]
        self._size += len(lines)

    def close(self) -> None:
        os.close(self._descriptor)

    def _open(self) -> int:
        descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        self._size = os.fstat(descriptor).st_size
        self._since = self._wall()
        return descriptor

    def _is_due(self, more: int) -> bool:
        too_large = self._max_bytes and self._size and self._size + more > self._max_bytes
        return bool(too_large or (self._max_age and self._size and self._wall() - self._since > self._max_age))

    def _set_aside(self) -> Path:
        moment = datetime.fromtimestamp(self._wall(), UTC).strftime("%Y-%m-%dT%H-%M-%S.%f")
        return self._path.with_name(f"{self._path.stem}-{moment}{self._path.suffix}")

    def _prune(self) -> None:
        old = sorted(self._path.parent.glob(f"{self._path.stem}-????-??-??T*{self._path.suffix}"))
        kept = old[-self._max_files :] if self._max_files else old
        for path in old:
            is_old = self._max_age and self._wall() - path.stat().st_mtime > self._max_age
            if path not in kept or is_old:
                with contextlib.suppress(FileNotFoundError):
                    path.unlink()
