# SPDX-License-Identifier: Apache-2.0
"""Configuration out of a Kubernetes API server: what it holds of our kinds is ours, and only it may change that.

An object that breaks a rule keeps its last good form, as a broken file does. Fields that we do not know are passed over: the server has
accepted them, and a Kubernetes Service has many that mean nothing here.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import structlog

from common.config.problem import Problem
from common.config.registry import Kind, registry
from common.config.resource import ResourceKey
from galley.errors import GalleyError, UnavailableError
from galley.sources.admission import Admission, Admitted
from galley.sources.reflector import AbsentError, ApiError, GoneError, KubernetesApi, Object, Reflector
from galley.store.model import Delete, Intent, Origin, Put
from galley.store.store import Store

log = structlog.get_logger("source")

OWNER = "kubernetes"
FIRST_SYNC_SECONDS = 10.0
"""How long a start waits for the server. After that Galley serves what it stored last, and catches up when it can."""
GATHER_SECONDS = 0.05  # events of one moment make one transaction
RETRY_SECONDS = 1.0
RESYNC_SECONDS = 600.0

_ORIGIN = Origin(owner=OWNER)


class KubernetesSource:
    """Keeps the store equal to the server while `run` runs."""

    def __init__(
        self,
        store: Store,
        admission: Admission,
        api: KubernetesApi,
        *,
        kinds: Iterable[Kind] = registry,
        resync_seconds: float = RESYNC_SECONDS,
    ) -> None:
        self._store, self._admission = store, admission
        self._reflectors = [Reflector(kind, api, self, resync_seconds=resync_seconds) for kind in kinds]
        self._pending: dict[ResourceKey, Object | None] = {}
        """What is to be written, newest state only: a storm about one object costs one entry."""
        self._problems: dict[ResourceKey, tuple[Problem, ...]] = {}
        self._wake = asyncio.Event()
        store.owners.add(OWNER)

    def states(self) -> Sequence[Mapping[str, Any]]:
        """One entry for each kind that has objects or problems, as the API shows sources."""
        states = []
        for reflector in self._reflectors:
            collection = reflector.kind.collection
            own = sum(stored.origin.owner == OWNER for stored in self._store.snapshot.collection(collection).objects.values())
            problems = [
                {"path": problem.path, "message": f"{key}: {problem.message}", "line": None}
                for key, found in sorted(self._problems.items())
                if key.collection == collection
                for problem in found
            ]
            if reflector.complaint is not None and reflector.is_listed:
                problems.append({"path": "", "message": reflector.complaint, "line": None})
            if own or problems:
                state = "error" if problems else "ok"
                states.append({"file": f"kubernetes/{reflector.kind.plural}", "state": state, "objects": own, "problems": problems})
        return states

    async def load(self) -> None:
        """List everything once and store it; waits for the server only so long."""
        try:
            async with asyncio.timeout(FIRST_SYNC_SECONDS):
                await asyncio.gather(*(self._first(reflector) for reflector in self._reflectors))
        except (ApiError, TimeoutError) as error:
            reason = str(error) or f"no answer within {FIRST_SYNC_SECONDS:.0f} s"
            log.warning("the Kubernetes API cannot be read yet; serving what was stored", reason=reason)
        await self._flush()

    async def run(self) -> None:
        """Follow the server until cancelled."""
        async with asyncio.TaskGroup() as group:
            for reflector in self._reflectors:
                group.create_task(reflector.run(), name=f"kubernetes {reflector.kind.plural}")
            while True:
                await self._wake.wait()
                await asyncio.sleep(GATHER_SECONDS)
                self._wake.clear()
                await self._flush()

    def replaced(self, kind: Kind, items: Sequence[Object]) -> None:
        """See `Heard`."""
        present = {_key(kind, item): item for item in items}
        known = [stored.key for stored in self._store.snapshot.collection(kind.collection).objects.values() if stored.origin.owner == OWNER]
        waiting = [key for key in self._pending if key.collection == kind.collection]
        broken = [key for key in self._problems if key.collection == kind.collection]
        for key in {*known, *waiting, *broken} - present.keys():
            self._take(key, None)
        for key, item in present.items():
            self._take(key, _document(kind, item))

    def changed(self, kind: Kind, found: Object) -> None:
        """See `Heard`."""
        self._take(_key(kind, found), _document(kind, found))

    def removed(self, kind: Kind, found: Object) -> None:
        """See `Heard`."""
        self._take(_key(kind, found), None)

    def _take(self, key: ResourceKey, document: Object | None) -> None:
        self._pending[key] = document
        self._wake.set()

    async def _first(self, reflector: Reflector) -> None:
        with contextlib.suppress(AbsentError, GoneError):
            await reflector.list_all()

    async def _flush(self) -> None:
        pending, self._pending = self._pending, {}
        wanted = {key: document for key, document in pending.items() if document is not None}
        admitted = await asyncio.to_thread(self._admission.documents, list(wanted.values()), namespace="default")
        intents: list[Intent] = [
            Delete(key=key, origin=_ORIGIN, missing_ok=True) for key, document in pending.items() if document is None and self._is_ours(key)
        ]
        for key in pending:
            self._problems.pop(key, None)
        for key, found in zip(wanted, admitted, strict=True):
            if found.resource is None or not found.is_valid:
                self._refuse(key, found)
            else:
                intents.append(Put(resource=found.resource, origin=_ORIGIN))
        if intents:
            await self._write(intents, pending)

    async def _write(self, intents: list[Intent], pending: Mapping[ResourceKey, Object | None]) -> None:
        """All in one transaction; when one of them stands in the way of the others, one by one."""
        try:
            outcomes = await self._store.write(intents, actor=OWNER)
        except UnavailableError as error:
            log.warning("the store does not take what Kubernetes says; trying again", reason=str(error))
            self._pending = {**{intent.key: pending[intent.key] for intent in intents}, **self._pending}
            await asyncio.sleep(RETRY_SECONDS)
            self._wake.set()
        except GalleyError as error:
            if len(intents) == 1:
                self._refuse(intents[0].key, Admitted(None, (Problem(path="", message=str(error)),)))
                return
            for intent in intents:
                await self._write([intent], pending)
        else:
            changed = sum(outcome.action != "unchanged" for outcome in outcomes)
            if changed:
                log.info("kubernetes objects stored", changed=changed)

    def _refuse(self, key: ResourceKey, found: Admitted) -> None:
        self._problems[key] = found.problems
        for problem in found.problems:
            log.error("an object of Kubernetes is not usable; what it said before is kept", object=str(key), problem=str(problem))

    def _is_ours(self, key: ResourceKey) -> bool:
        stored = self._store.snapshot.get(key)
        return stored is not None and stored.origin.owner == OWNER


def _key(kind: Kind, found: Object) -> ResourceKey:
    metadata = found.get("metadata") or {}
    return ResourceKey(kind.collection, str(metadata.get("namespace") or ""), str(metadata.get("name") or ""))


def _document(kind: Kind, found: Object) -> Object:
    """As we would have been sent it: lists leave the kind out, and the status there is not ours."""
    document = {name: value for name, value in found.items() if name != "status"}
    metadata = {name: value for name, value in (found.get("metadata") or {}).items() if name != "resourceVersion"}
    return {**document, "apiVersion": kind.api_version, "kind": kind.name, "metadata": metadata}
