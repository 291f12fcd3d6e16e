# SPDX-License-Identifier: Apache-2.0
"""Bring a schema to its newest version at start. Migrations are Alembic revisions inside the part's package, so a wheel carries its own."""

from __future__ import annotations

import threading
from typing import Any

from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, Engine

from common.database.engine import is_sqlite
from common.lifecycle.host import StartError

_ADVISORY_LOCK = 0x466F75726D617374  # "Fourmast": only one process of several migrates a PostgreSQL
_ALEMBIC = threading.Lock()  # Alembic keeps the running migration in module globals, and istiod's parts migrate in threads of their own


def migrate(engine: Engine, scripts: str) -> None:
    """Upgrade to head, in one transaction. `scripts` is `package:folder`, for example `galley.store:migrations`.

    Raises StartError when the database was written by a newer version than this one.
    """
    config = Config()
    config.set_main_option("script_location", scripts)
    config.set_main_option("path_separator", "os")
    directory = ScriptDirectory.from_config(config)

    def upgrade(current: Any, _: Any) -> Any:
        return directory._upgrade_revs("head", current)

    with _ALEMBIC, engine.begin() as connection, EnvironmentContext(config, directory, fn=upgrade) as environment:
        _one_at_a_time(engine, connection)
        environment.configure(connection=connection, transactional_ddl=False)
        try:
            environment.run_migrations()
        except CommandError as error:
            raise StartError(f"the database {engine.url.render_as_string()} is from another version of Fourmast: {error}") from error


def _one_at_a_time(engine: Engine, connection: Connection) -> None:
    if not is_sqlite(engine):  # a SQLite transaction of ours holds the write lock from its beginning
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_ADVISORY_LOCK})")
