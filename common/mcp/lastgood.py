# SPDX-License-Identifier: Apache-2.0
"""The last good configuration of a part, on disk, so that it serves at once after a restart even while Galley is away.

One file for each collection (0600, replaced by rename); damaged or foreign files are ignored, because Galley will send the truth anyway.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import msgspec
import structlog

from common.config.registry import UnknownKindError
from common.config.resource import DecodeError, Resource, decode, encode
from common.identity.private_file import write_private
from common.mcp.change import Change

log = structlog.get_logger("mcp")


class _File(msgspec.Struct):
    collection: str
    version: str
    traceparent: str
    resources: list[msgspec.Raw]


class LastGood:
    """`load` once at start, then `record` each change after it was applied."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._held: dict[str, dict[str, Resource[Any]]] = {}

    def load(self) -> list[Change]:
        """One full change for each collection on disk; an object that this version cannot read is left out."""
        changes = []
        for path in sorted(self._folder.glob("*.json")):
            try:
                file = msgspec.json.decode(path.read_bytes(), type=_File)
            except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
                log.warning("a last good collection cannot be read; waiting for Galley instead", file=str(path), reason=str(error))
                continue
            held: dict[str, Resource[Any]] = {}
            for body in file.resources:
                try:
                    resource = decode(bytes(body))
                except (DecodeError, UnknownKindError) as error:
                    log.warning("a last good object cannot be read", collection=file.collection, reason=str(error))
                    continue
                held[resource.key.mcp_name] = resource
            self._held[file.collection] = held
            changes.append(
                Change(
                    collection=file.collection, version=file.version, upserts=tuple(held.values()), full=True, traceparent=file.traceparent
                )
            )
        return changes

    def record(self, change: Change) -> None:
        """Take a change that was applied and write its collection. Blocks for one small file write."""
        held = {} if change.full else dict(self._held.get(change.collection, {}))
        for name in change.removed:
            held.pop(name, None)
        for resource in change.upserts:
            held[resource.key.mcp_name] = resource
        self._held[change.collection] = held
        bodies = [msgspec.Raw(encode(held[name])) for name in sorted(held)]
        file = _File(change.collection, change.version, change.traceparent, bodies)
        write_private(self._path(change.collection), msgspec.json.encode(file))

    def _path(self, collection: str) -> Path:
        digest = hashlib.sha256(collection.encode()).hexdigest()[:8]  # two collections may end alike
        return self._folder / f"{collection.rpartition('/')[2]}-{digest}.json"
