# SPDX-License-Identifier: Apache-2.0
"""The last good configuration of a part, on disk, so that it serves at once after a restart even while Galley is away.

One file for each collection (0600, replaced by rename); damaged or foreign files are ignored, because Galley will send the truth anyway.
"""

from __future__ import annotations

import hashlib
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

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


class _Entry(NamedTuple):
    resource: Resource[Any]
    name: str
    body: msgspec.Raw


class LastGood:
    """`load` once at start, then `record` each change after it was applied.

    Bodies are kept, so that one change among ten thousand objects encodes one: writing must not take the interpreter from those who serve.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._held: dict[str, dict[int, _Entry]] = {}
        """Collection -> id of the object -> the object, which the entry keeps alive."""

    def load(self) -> list[Change]:
        """One full change for each collection on disk; an object that this version cannot read is left out."""
        changes = []
        for path in sorted(self._folder.glob("*.json")):
            try:
                file = msgspec.json.decode(path.read_bytes(), type=_File)
            except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
                log.warning("a last good collection cannot be read; waiting for Galley instead", file=str(path), reason=str(error))
                continue
            held: dict[int, _Entry] = {}
            for body in file.resources:
                try:
                    resource = decode(bytes(body))
                except (DecodeError, UnknownKindError) as error:
                    log.warning("a last good object cannot be read", collection=file.collection, reason=str(error))
                    continue
                held[id(resource)] = _entry(resource)
            self._held[file.collection] = held
            upserts = tuple([entry.resource for entry in held.values()])
            changes.append(
                Change(collection=file.collection, version=file.version, upserts=upserts, full=True, traceparent=file.traceparent)
            )
        return changes

    def record(self, change: Change) -> None:
        """Take a change that was applied and write its collection. Blocks for one small file write."""
        before = self._held.get(change.collection, {})
        new = [before.get(id(resource)) or _entry(resource) for resource in change.upserts]
        if change.full:
            entries = new
        else:
            gone = {*change.removed, *(entry.name for entry in new)}
            entries = [*(entry for entry in before.values() if entry.name not in gone), *new]
        entries.sort(key=itemgetter(1))
        self._held[change.collection] = {id(entry.resource): entry for entry in entries}
        bodies = [entry.body for entry in entries]
        file = _File(change.collection, change.version, change.traceparent, bodies)
        write_private(self._path(change.collection), msgspec.json.encode(file))

    def _path(self, collection: str) -> Path:
        digest = hashlib.sha256(collection.encode()).hexdigest()[:8]  # two collections may end alike
        return self._folder / f"{collection.rpartition('/')[2]}-{digest}.json"


def _entry(resource: Resource[Any]) -> _Entry:
    return _Entry(resource, resource.key.mcp_name, msgspec.Raw(encode(resource)))
