# SPDX-License-Identifier: Apache-2.0
"""One way to a database for every part: SQLite with a single locked writer, or PostgreSQL.

SQLAlchemy is used synchronously, in one writer thread for each database: SQLite wants that, and it makes commits happen in the order in
which the event loop asked for them on both.
"""

from common.database.engine import create, is_sqlite, sqlite_url
from common.database.integrity import check, opening
from common.database.lock import WriterLock
from common.database.migrations import migrate
from common.database.writer import Writer

__all__ = ["Writer", "WriterLock", "check", "create", "is_sqlite", "migrate", "opening", "sqlite_url"]
