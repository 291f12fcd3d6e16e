# SPDX-License-Identifier: Apache-2.0
"""Files that hold secrets: readable by their owner only from the first byte on, and never seen half written."""

from __future__ import annotations

import os
import secrets
from pathlib import Path


def write_private(path: Path, content: bytes) -> None:
    """Write by a new 0600 file and a rename, with the data on disk before the name changes. The folder is made 0700 if absent."""
    private_folder(path.parent)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def private_folder(path: Path) -> Path:
    """Make the folder (0700) unless it exists; an existing one keeps its mode, because it may be the user's own."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path
