# SPDX-License-Identifier: Apache-2.0
"""Resources and stores for tests of the store."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

from common.config.resource import Resource, from_document
from common.database import Writer, create, migrate, sqlite_url
from galley.store.store import Store
from tests.running_galley import document


def resource(kind: str, name: str, spec: dict[str, Any], *, namespace: str = "default", **metadata: Any) -> Resource[Any]:
    found = document(kind, name, spec, namespace=namespace)
    return from_document({**found, "metadata": {**found["metadata"], **metadata}})


def virtual_service(name: str = "reviews", host: str = "reviews", *, namespace: str = "default", **metadata: Any) -> Resource[Any]:
    return resource("VirtualService", name, {"hosts": [host]}, namespace=namespace, **metadata)


def service(name: str = "reviews", *, labels: Mapping[str, str] | None = None, namespace: str = "default", **spec: Any) -> Resource[Any]:
    port = {"name": "http", "port": 80}
    return resource("Service", name, {"ports": [port], **spec}, namespace=namespace, labels=dict(labels or {}))


@contextlib.asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[Store]:
    """A store on SQLite in `folder`; open it again to see what survived."""
    engine = create(sqlite_url(folder / "galley.db"))
    async with Writer.open(engine, name="galley") as writer:
        await writer.call(lambda: migrate(engine, "galley.store:migrations"))
        yield await Store.open(writer)
