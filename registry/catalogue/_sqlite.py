"""sqlite-utils without pandas, and connections that threads do not share.

sqlite-utils imports pandas where it finds it, only to know its column types. The web process and the MQTT service
must stay lean, so pandas is hidden for the length of this one import.
"""

import os
import sqlite3
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import Any

from registry.errors import CatalogueError


@contextmanager
def _without(name: str) -> Iterator[None]:
    """Make `import name` fail inside the block; afterwards everything is as it was."""
    found: ModuleType | None = sys.modules.get(name)
    sys.modules[name] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        if found is None:
            del sys.modules[name]
        else:
            sys.modules[name] = found


with _without("pandas"):
    import sqlite_utils

#: How long a writer waits for another one, in seconds.
BUSY_TIMEOUT_S = 10.0
#: Rows that one transaction deletes at most.
FORGOTTEN_AT_ONCE = 5000


class _Connection(sqlite3.Connection):
    """Closes itself with the thread that it belonged to."""

    def __del__(self) -> None:
        with suppress(sqlite3.Error):
            self.close()


class Connections:
    """One connection to the file per thread and process, made when first used.

    Thread-safe: no thread sees another's connection, and a forked child does not see its parent's.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._local = threading.local()

    @property
    def db(self) -> Any:
        """This thread's `sqlite_utils.Database`.

        Raises:
            CatalogueError: the file cannot be opened.
        """
        if getattr(self._local, "pid", None) != os.getpid():
            self._local.db = self._connect()
            self._local.pid = os.getpid()
        return self._local.db

    def _connect(self) -> Any:
        try:
            connection = sqlite3.connect(self._path, timeout=BUSY_TIMEOUT_S, isolation_level=None, factory=_Connection)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA foreign_keys = ON")
        except sqlite3.Error as error:
            raise CatalogueError(f"the catalogue {self._path} cannot be opened: {error}") from error
        return sqlite_utils.Database(connection, execute_plugins=False)

    @contextmanager
    def transaction(self) -> Iterator[Any]:
        """Everything in the block is kept, or nothing is. Takes the write lock at once; blocks may nest."""
        db = self.db
        if db.conn.in_transaction:
            with db.atomic():
                yield db
            return
        db.conn.execute("BEGIN IMMEDIATE")
        try:
            yield db
        except BaseException:
            db.rollback()
            raise
        db.conn.execute("COMMIT")

    def rows(self, sql: str, parameters: tuple[Any, ...] = ()) -> list[dict[str, Any]]:
        """Return what a query finds."""
        return list(self.db.query(sql, parameters))

    def row(self, sql: str, parameters: tuple[Any, ...] = ()) -> dict[str, Any] | None:
        """Return the first row that a query finds, or None."""
        found = self.rows(sql, parameters)
        return found[0] if found else None

    def close(self) -> None:
        """Close this thread's connection."""
        if getattr(self._local, "pid", None) == os.getpid():
            self._local.db.close()
            self._local.pid = None


def forget_rows(connections: Connections, table: str, column: str, until: float) -> int:
    """Delete a table's rows whose time is before `until`, little by little so that other writers get their turn."""
    where = f"SELECT rowid FROM {table} WHERE {column} < ? LIMIT {FORGOTTEN_AT_ONCE}"  # noqa: S608 - our own names
    forgotten = 0
    while True:
        with connections.transaction() as db:
            count = int(db.execute(f"DELETE FROM {table} WHERE rowid IN ({where})", (until,)).rowcount)  # noqa: S608
        forgotten += count
        if count < FORGOTTEN_AT_ONCE:
            return forgotten
