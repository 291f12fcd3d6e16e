# SPDX-License-Identifier: Apache-2.0
"""A directory of YAML, watched: what the files say is the configuration, and only the files may change it.

A file is a unit. One that cannot be read or breaks a rule keeps what it said last, and its mistakes are shown; the other files go on.
A directory that is gone changes nothing at all: a mount that failed must not empty the mesh.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog
from watchfiles import awatch

from common.config.problem import Problem
from common.config.resource import ResourceKey
from common.telemetry.tracing import current_traceparent, tracer
from galley import metrics
from galley.errors import GalleyError
from galley.sources.admission import Admission
from galley.store.model import Delete, Intent, Origin, Put
from galley.store.store import Store
from galley.validation import DocumentResult

log = structlog.get_logger("source")

OWNER = "directory"
SUFFIXES = frozenset({".yaml", ".yml", ".json"})
QUIET_MILLISECONDS = 50  # an editor writes a file in several steps
LOOK_MILLISECONDS = 1000
RETRY_SECONDS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class FileState:
    """What became of one file at the last look."""

    file: str
    objects: int
    problems: tuple[Problem, ...] = ()

    def document(self) -> dict[str, Any]:
        return {
            "file": self.file,
            "state": "error" if self.problems else "ok",
            "objects": self.objects,
            "problems": [{"path": p.path, "message": p.message, "line": p.line} for p in self.problems],
        }


class DirectorySource:
    """Keeps the store equal to the directory while `run` runs."""

    def __init__(self, root: Path, store: Store, admission: Admission) -> None:
        self._root, self._store, self._admission = root, store, admission
        self._states: dict[str, FileState] = {}
        self._seen: frozenset[tuple[str, int, int, int]] = frozenset()
        store.owners.add(OWNER)

    def states(self) -> Sequence[Mapping[str, Any]]:
        """One entry for each file, as the API shows it."""
        return [state.document() for state in self._states.values()]

    async def run(self) -> None:
        """Follow changes until cancelled.

        Notifications make it quick, a look every second makes it certain: a change between the first load and the first watch, in a
        folder that is younger than its watch, or in a directory that was replaced as a whole is notified to nobody.
        """
        while True:
            try:
                changes = awatch(
                    self._root,
                    debounce=4 * QUIET_MILLISECONDS,
                    step=QUIET_MILLISECONDS,
                    rust_timeout=LOOK_MILLISECONDS,
                    yield_on_timeout=True,
                )
                async for change in changes:
                    if change or await asyncio.to_thread(_fingerprint, self._root) != self._seen:
                        await self.load()
            except (OSError, RuntimeError) as error:  # the directory does not exist, or ceased to
                log.warning(
                    "the configuration directory cannot be watched; what it said is kept", directory=str(self._root), reason=str(error)
                )
                await asyncio.sleep(RETRY_SECONDS)

    async def load(self) -> None:
        """Read everything and bring the store to it, in one transaction, which is the first span of its change."""
        with tracer("galley").start_as_current_span("galley.accept", attributes={"directory": str(self._root)}):
            await self._load()

    async def _load(self) -> None:
        with _collecting_later():
            await self._read_and_store()

    async def _read_and_store(self) -> None:
        self._seen = await asyncio.to_thread(_fingerprint, self._root)
        read = await asyncio.to_thread(_read, self._root)
        if read is None:
            return
        files, unreadable = read
        results = await asyncio.to_thread(self._admission.files, sorted(files.items()))
        states = {name: FileState(file=name, objects=0, problems=(problem,)) for name, problem in unreadable.items()}
        of_file: dict[str, list[DocumentResult]] = {name: [] for name in files}
        for result in results:
            of_file[result.file].append(result)
        for name, own in of_file.items():
            problems = tuple(problem for result in own for problem in result.problems)
            states[name] = FileState(file=name, objects=0 if problems else len(own), problems=problems)
        broken = {name for name, state in states.items() if state.problems}
        wanted = [_put(result) for result in results if result.file not in broken and result.resource is not None]
        intents: list[Intent] = [*wanted, *self._leavers({intent.key for intent in wanted}, broken)]
        try:
            outcomes = await self._store.write(intents, actor=OWNER, traceparent=current_traceparent())
        except GalleyError as error:
            log.error("the directory cannot be stored; what it said before is kept", directory=str(self._root), reason=str(error))
            states = {name: _failed(state, str(error)) for name, state in states.items()}
        else:
            changed = [outcome for outcome in outcomes if outcome.action != "unchanged"]
            if changed:
                log.info("directory loaded", directory=str(self._root), files=len(states), changed=len(changed))
        self._tell(states)

    def _leavers(self, wanted: set[ResourceKey], broken: set[str]) -> list[Delete]:
        """Objects of ours that no file declares any more, except those of files that cannot be read now."""
        return [
            Delete(key=stored.key, origin=stored.origin)
            for stored in self._store.snapshot
            if stored.origin.owner == OWNER and stored.key not in wanted and stored.origin.file not in broken
        ]

    def _tell(self, states: dict[str, FileState]) -> None:
        for name, state in sorted(states.items()):
            before = self._states.get(name)
            if state.problems and (before is None or before.problems != state.problems):
                for problem in state.problems:
                    where = f"{name}:{problem.line}" if problem.line else name
                    log.error("a file is not usable; what it said before is kept", where=where, problem=str(problem))
            elif before is not None and before.problems and not state.problems:
                log.info("a file is usable again", file=name)
        self._states = dict(sorted(states.items()))
        metrics.SOURCE_ERRORS.set(sum(1 for state in states.values() if state.problems))


@contextlib.contextmanager
def _collecting_later() -> Iterator[None]:
    """A load makes a million values that stay: looking through them for garbage again and again is a third of its time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _put(result: DocumentResult) -> Put:
    if result.resource is None:
        raise AssertionError("only valid documents are stored")
    return Put(resource=result.resource, origin=Origin(owner=OWNER, file=result.file, line=result.line or 0))


def _failed(state: FileState, reason: str) -> FileState:
    return FileState(file=state.file, objects=state.objects, problems=state.problems or (Problem(path="", message=reason),))


def _files(root: Path) -> Iterator[Path]:
    """Configuration files under `root`, without hidden ones (editors' temporary files are)."""
    for path in sorted(root.rglob("*")):
        if path.suffix in SUFFIXES and not any(part.startswith(".") for part in path.relative_to(root).parts) and path.is_file():
            yield path


def _fingerprint(root: Path) -> frozenset[tuple[str, int, int, int]]:
    """Changes when any file does; reads no content."""
    found = set()
    for path in _files(root):
        with contextlib.suppress(OSError):
            status = path.stat()
            found.add((str(path), status.st_mtime_ns, status.st_size, status.st_ino))
    return frozenset(found)


def _read(root: Path) -> tuple[dict[str, bytes], dict[str, Problem]] | None:
    """Contents by path under `root`, and the files that could not be read; None when the directory is not there."""
    if not root.is_dir():
        return None
    contents: dict[str, bytes] = {}
    unreadable: dict[str, Problem] = {}
    for path in _files(root):
        name = str(path.relative_to(root))
        try:
            contents[name] = path.read_bytes()
        except FileNotFoundError:
            continue  # between the listing and the look
        except OSError as error:
            unreadable[name] = Problem(path="", message=f"cannot be read: {error.strerror}")
    return contents, unreadable
