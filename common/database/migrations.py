# SPDX-License-Identifier: Apache-2.0
"""Bring a schema to its newest version at start, or by hand back to an older one.

Migrations are Alembic revisions inside the part's package, so a wheel carries its own.
"""

from __future__ import annotations

import threading
from typing import Any

from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.runtime.environment import EnvironmentContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, Engine

from common.database.engine import is_sqlite
from common.lifecycle.host import StartError

_ADVISORY_LOCK = 0x466F75726D617374  # "Fourmast": only one process of several migrates a PostgreSQL
_ALEMBIC = threading.Lock()  # Alembic keeps the running migration in module globals, and istiod's parts migrate in threads of their own


def migrate(engine: Engine, scripts: str, *, to: str = "head") -> None:
    """Move to a version, newest by default, in one transaction. `scripts` is `package:folder`, for example `galley.store:migrations`.

    `to` is a version as `version` gives it, or `-1` for the one before. Raises StartError when there is no such version, or when the
    database was written by a newer Fourmast than this one: that one must take it back first.
    """
    config, directory = _scripts(scripts)

    def steps(current: Any, _: Any) -> Any:
        back = to.startswith("-") or (current and to != "head" and _is_before(directory, to, current))
        return directory._downgrade_revs(to, current) if back else directory._upgrade_revs(to, current)

    with _ALEMBIC, engine.begin() as connection, EnvironmentContext(config, directory, fn=steps) as environment:
        _one_at_a_time(engine, connection)
        environment.configure(connection=connection, transactional_ddl=False)
        try:
            environment.run_migrations()
        except CommandError as error:
            raise StartError(
                f"the database {engine.url.render_as_string()} cannot be brought to version {to!r}; "
                f"it is from another version of Fourmast, which must take it back first (galley migrate --to VERSION): {error}"
            ) from error


def version(engine: Engine) -> str:
    """The schema's version; empty for a new database."""
    with engine.connect() as connection:
        return MigrationContext.configure(connection).get_current_revision() or ""


def _scripts(scripts: str) -> tuple[Config, ScriptDirectory]:
    config = Config()
    config.set_main_option("script_location", scripts)
    config.set_main_option("path_separator", "os")
    return config, ScriptDirectory.from_config(config)


def _is_before(directory: ScriptDirectory, to: str, current: Any) -> bool:
    present = current if isinstance(current, str) else current[0]
    return to in {script.revision for script in directory.iterate_revisions(present, "base")} - {present}


def _one_at_a_time(engine: Engine, connection: Connection) -> None:
    if not is_sqlite(engine):  # a SQLite transaction of ours holds the write lock from its beginning
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_ADVISORY_LOCK})")
