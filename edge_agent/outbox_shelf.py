"""Where the outbox's messages lie: a database on disk, and a small place in memory for when the disk fails."""

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

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
    priority: int = 0


class DiskShelf:
    """A SQLite database. Not thread-safe; every change is one transaction.

    `size`, `dropped` and `last_id` are kept in memory, so that they can be told while the disk cannot be read.

    Raises:
        sqlite3.OperationalError: the disk is full, read-only or away. sqlite3.DatabaseError: the file is damaged.
    """

    def __init__(self, path: Path, limit_bytes: int) -> None:
        self._limit = limit_bytes
        path.parent.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        try:
            self._prepare()
        except BaseException:
            self._db.close()
            raise

    def _prepare(self) -> None:
        self._db.execute("PRAGMA auto_vacuum=INCREMENTAL")  # must come before the first table
        self._db.execute("PRAGMA journal_mode=WAL")
        # FULL: an id that went out must not be given again after a power cut.
        self._db.execute("PRAGMA synchronous=FULL")
        self._db.executescript(_SCHEMA)
        self._bytes, self.size = self._db.execute(
            "SELECT coalesce(sum(length(payload)), 0), count(*) FROM item"
        ).fetchone()
        given = self._db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'item'").fetchone()
        self.last_id = int(given[0]) if given else 0
        tally = self._db.execute("SELECT value FROM tally WHERE name = 'dropped'").fetchone()
        self.dropped = int(tally[0]) if tally else 0

    def put(self, items: Iterable[OutboxItem], *, dropped: int = 0) -> list[int]:
        """Store messages; return the ids of those, new or old, that had to go for want of room.

        Args:
            dropped: counted along: what was dropped elsewhere.
        """
        size, weight, lost = self.size, self._bytes, []
        with self._db:
            self._db.execute("BEGIN IMMEDIATE")
            for item in items:
                self._db.execute(
                    "INSERT OR REPLACE INTO item (id, priority, channel, payload) VALUES (?, ?, ?, ?)",
                    (item.id, item.priority, item.channel, item.payload),
                )
                size, weight = size + 1, weight + len(item.payload)
            while weight > self._limit:
                number, length = self._db.execute(
                    "SELECT id, length(payload) FROM item ORDER BY priority, id LIMIT 1"
                ).fetchone()
                self._db.execute("DELETE FROM item WHERE id = ?", (number,))
                size, weight = size - 1, weight - length
                lost.append(number)
            if lost or dropped:
                self._db.execute(
                    "INSERT OR REPLACE INTO tally VALUES ('dropped', ?)", (self.dropped + len(lost) + dropped,)
                )
        self.size, self._bytes = size, weight
        self.dropped += len(lost) + dropped
        return lost

    def first(self, limit: int) -> list[OutboxItem]:
        """Return the weightiest, oldest first."""
        rows = self._db.execute(
            "SELECT id, channel, payload, priority FROM item ORDER BY priority DESC, id LIMIT ?", (limit,)
        )
        return [OutboxItem(*row) for row in rows.fetchall()]

    def delete(self, ids: Iterable[int]) -> int:
        """Delete messages and give their space back; return how many there were."""
        size, weight = self.size, self._bytes
        with self._db:
            self._db.execute("BEGIN IMMEDIATE")
            for number in ids:
                row = self._db.execute("DELETE FROM item WHERE id = ? RETURNING length(payload)", (number,)).fetchone()
                if row is not None:
                    size, weight = size - 1, weight - row[0]
            self._db.execute("PRAGMA incremental_vacuum")
        gone = int(self.size - size)
        self.size, self._bytes = size, weight
        return gone

    def close(self) -> None:
        self._db.close()


class SpareShelf:
    """A place in memory, of few bytes: the least weighty gives way, the oldest first, and is counted."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._items: dict[int, OutboxItem] = {}
        self.dropped = 0

    def put(self, item: OutboxItem) -> list[int]:
        """Store a message; return the ids of those that had to go."""
        self._items[item.id] = item
        lost = []
        while sum(len(other.payload) for other in self._items.values()) > self._limit:
            least = min(self._items.values(), key=lambda other: (other.priority, other.id))
            del self._items[least.id]
            lost.append(least.id)
        self.dropped += len(lost)
        return lost

    def items(self) -> list[OutboxItem]:
        return list(self._items.values())

    def delete(self, number: int) -> bool:
        return self._items.pop(number, None) is not None

    def clear(self) -> None:
        self._items.clear()
        self.dropped = 0
