"""What must reach the registry waits here, on disk, until the registry has it: bounded, by priority, counted.

Ids rise and are never used twice, not even by a home that was wiped: the first id of a new outbox is the clock
in milliseconds. The registry uses them to drop what it has received twice.
"""

import sqlite3
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

#: An error is worth more than an event, an event more than a telemetry window.
TELEMETRY, EVENT, ALARM = 1, 2, 3

_SCHEMA = """
CREATE TABLE IF NOT EXISTS item (
    id INTEGER PRIMARY KEY AUTOINCREMENT, priority INTEGER NOT NULL, channel TEXT NOT NULL, payload BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS item_worth ON item (priority, id);
CREATE TABLE IF NOT EXISTS tally (name TEXT PRIMARY KEY, value INTEGER NOT NULL);
"""


@dataclass(frozen=True, slots=True)
class OutboxItem:
    """One message that waits: its topic channel and bytes."""

    id: int
    channel: str
    payload: bytes


class Outbox:
    """A queue in SQLite. Thread-safe: one connection behind a lock.

    Args:
        limit_bytes: most that the waiting payloads may weigh together.
        first_id: where the ids of a new outbox begin.
    """

    def __init__(self, path: Path, *, limit_bytes: int, first_id: int) -> None:
        self._limit = limit_bytes
        self._lock = threading.Lock()
        path.parent.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._db.execute("PRAGMA auto_vacuum=INCREMENTAL")  # must come before the first table
        self._db.execute("PRAGMA journal_mode=WAL")
        # FULL: an id that went out must not be given again after a power cut.
        self._db.execute("PRAGMA synchronous=FULL")
        self._db.executescript(_SCHEMA)
        if self._db.execute("SELECT 1 FROM sqlite_sequence WHERE name = 'item'").fetchone() is None:
            self._db.execute("INSERT INTO sqlite_sequence (name, seq) VALUES ('item', ?)", (first_id - 1,))
        self._bytes = int(self._db.execute("SELECT coalesce(sum(length(payload)), 0) FROM item").fetchone()[0])

    def add(self, channel: str, priority: int, build: Callable[[int], bytes]) -> int | None:
        """Store one message and return its id, or None if only weightier ones were waiting and it was dropped.

        Args:
            build: makes the payload from the id, which is part of it.
        """
        with self._lock, self._db:
            self._db.execute("BEGIN IMMEDIATE")
            cursor = self._db.execute(
                "INSERT INTO item (priority, channel, payload) VALUES (?, ?, x'')", (priority, channel)
            )
            number = int(cursor.lastrowid or 0)
            payload = build(number)
            self._db.execute("UPDATE item SET payload = ? WHERE id = ?", (payload, number))
            self._bytes += len(payload)
            return None if number in self._make_room() else number

    def _make_room(self) -> list[int]:
        dropped = []
        while self._bytes > self._limit:
            number, size = self._db.execute(
                "SELECT id, length(payload) FROM item ORDER BY priority, id LIMIT 1"
            ).fetchone()
            self._db.execute("DELETE FROM item WHERE id = ?", (number,))
            self._bytes -= size
            dropped.append(number)
        if dropped:
            self._db.execute(
                "INSERT INTO tally VALUES ('dropped', ?) "
                "ON CONFLICT (name) DO UPDATE SET value = value + excluded.value",
                (len(dropped),),
            )
        return dropped

    def waiting(self, limit: int, *, beyond: Iterable[int] = ()) -> list[OutboxItem]:
        """Return the weightiest, oldest first, without those whose ids are in `beyond` (they are on their way)."""
        skipped = frozenset(beyond)
        with self._lock:
            rows = self._db.execute(
                "SELECT id, channel, payload FROM item ORDER BY priority DESC, id LIMIT ?", (limit + len(skipped),)
            ).fetchall()
        return [OutboxItem(*row) for row in rows if row[0] not in skipped][:limit]

    def delete(self, ids: Iterable[int]) -> None:
        """Forget what the registry has."""
        with self._lock, self._db:
            self._db.execute("BEGIN IMMEDIATE")
            for number in ids:
                row = self._db.execute("DELETE FROM item WHERE id = ? RETURNING length(payload)", (number,)).fetchone()
                self._bytes -= row[0] if row else 0
            self._db.execute("PRAGMA incremental_vacuum")

    @property
    def size(self) -> int:
        """How many wait."""
        with self._lock:
            return int(self._db.execute("SELECT count(*) FROM item").fetchone()[0])

    @property
    def dropped(self) -> int:
        """How many were dropped for want of room, since the outbox was made."""
        with self._lock:
            row = self._db.execute("SELECT value FROM tally WHERE name = 'dropped'").fetchone()
        return int(row[0]) if row else 0

    def close(self) -> None:
        with self._lock:
            self._db.close()
