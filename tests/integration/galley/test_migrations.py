# SPDX-License-Identifier: Apache-2.0
"""Every migration forward and back on a filled database, on both engines: nothing that both versions know is lost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine

from common.config.kinds.networking import WorkloadEntry
from common.database import Writer, create, sqlite_url
from common.database.migrations import migrate, version
from common.lifecycle.host import StartError
from galley.store.model import Delete, Put
from galley.store.moving import move
from galley.store.schema import metadata
from galley.store.store import MIGRATIONS, Store
from galley.store.workloads import Workloads
from tests.unit.galley.store import worlds


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return sqlite_url(tmp_path / "galley.db") if request.param == "sqlite" else request.getfixturevalue("postgres")


def tables(engine: Engine) -> dict[str, list[dict[str, Any]]]:
    """Rows by table, read with the columns that both versions have."""
    known = {"resources": "*", "revisions": "*", "workloads": "namespace, name, lease, healthy, body", "starts": "start, at"}
    with engine.connect() as connection:
        return {
            table: [dict(row) for row in connection.exec_driver_sql(f"SELECT {columns} FROM {table} ORDER BY 1, 2").mappings()]
            for table, columns in known.items()
        }


async def fill(url: str) -> None:
    engine = create(url)
    async with Writer.open(engine, name="test") as writer:
        await writer.call(lambda: migrate(engine, MIGRATIONS))
        store = await Store.open(writer)
        await store.write([Put(resource=worlds.virtual_service(f"v{n}")) for n in range(3)], actor="x")
        await store.write([Delete(key=worlds.virtual_service("v1").key), Put(resource=worlds.service())], actor="y")
        workloads = await Workloads.open(writer, start=store.start)
        workloads.leases.register(namespace="default", name="w", spec=WorkloadEntry(address="10.0.0.1"), healthy=True, at="then")
        await workloads._persist()


async def test_back_one_version_and_forward_again_on_a_filled_database(url: str) -> None:
    await fill(url)
    engine = create(url)
    newest = version(engine)
    before = tables(engine)
    migrate(engine, MIGRATIONS, to="-1")
    assert version(engine) != newest
    assert tables(engine) == before
    with engine.begin() as connection:  # as the older version would write
        connection.exec_driver_sql(
            "INSERT INTO workloads (namespace, name, service_account, lease, healthy, body, registered_at)"
            " VALUES ('default', 'old', 'a', 'l', true, '{\"address\":\"10.0.0.2\"}', 'then')"
        )
    migrate(engine, MIGRATIONS)
    assert version(engine) == newest
    engine.dispose()

    again = create(url)
    async with Writer.open(again, name="test") as writer:
        store = await Store.open(writer)
        assert {str(s.key) for s in store.snapshot} == {
            "VirtualService default/v0",
            "VirtualService default/v2",
            "Service default/reviews",
        }
        assert [e.revision for e in await store.history()] == [5, 4, 3, 2, 1]
        workloads = await Workloads.open(writer, start=store.start)
        assert {name for _, name in workloads.leases.known} >= {"old"}
        assert workloads.leases.known["default", "old"].proxy_version == "", "the older version knew none"
        await store.write([Put(resource=worlds.virtual_service("next"))], actor="x")
        assert store.snapshot.revision == 6


async def test_all_the_way_back_and_forward_makes_the_same_schema(url: str) -> None:
    engine = create(url)
    migrate(engine, MIGRATIONS)
    migrate(engine, MIGRATIONS, to="-1")
    migrate(engine, MIGRATIONS, to="0001")
    migrate(engine, MIGRATIONS)
    with engine.connect() as connection:
        assert list(compare_metadata(MigrationContext.configure(connection), metadata)) == []
    engine.dispose()


async def test_a_version_that_does_not_exist_changes_nothing(url: str) -> None:
    move(url, "head")
    with pytest.raises(StartError, match="another version of Fourmast"):
        move(url, "0999")
    assert move(url, "head")[0] == move(url, "head")[1]
