"""What must reach the registry waits here, on disk, until the registry has it: bounded, by priority, counted.

While the disk is full, read-only or broken, what is new waits in memory, within a smaller bound, and moves to the
disk when that takes it again: the report that the disk is full must not wait for the disk.

Ids rise and are never used twice, not even by a home that was wiped: they begin at the clock in milliseconds at
each start, or where they were if that is higher. The registry uses them to drop what it has received twice.
"""

import heapq
import logging
import sqlite3
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

from edge_agent.outbox_shelf import DiskShelf, OutboxItem, SpareShelf

__all__ = ["ALARM", "EVENT", "TELEMETRY", "Outbox", "OutboxItem"]

T = TypeVar("T")
log = logging.getLogger(__name__)

#: An error is worth more than an event, an event more than a telemetry window.
TELEMETRY, EVENT, ALARM = 1, 2, 3
#: Most that may wait in memory while the disk takes nothing.
SPARE_BYTES = 2 * 1024 * 1024


class Outbox:
    """A queue over a restart and over a disk that fails. Thread-safe.

    Args:
        path: the database. One that is damaged is put aside, and begun anew.
        limit_bytes: most that the waiting payloads may weigh together on disk.
        first_id: no id is lower.
    """

    def __init__(self, path: Path, *, limit_bytes: int, first_id: int) -> None:
        self._path, self._limit = path, limit_bytes
        self._lock = threading.Lock()
        self._disk: DiskShelf | None = None
        self._spare = SpareShelf(min(limit_bytes, SPARE_BYTES))
        #: Acknowledged, and still on the disk that takes no change.
        self._gone: set[int] = set()
        self._last = first_id - 1
        #: Why the disk takes nothing, or None while it does.
        self.fault: str | None = None
        self._settle()

    def add(self, channel: str, priority: int, build: Callable[[int], bytes]) -> int | None:
        """Store one message and return its id, or None if only weightier ones were waiting and it was dropped.

        Args:
            build: makes the payload from the id, which is part of it.
        """
        with self._lock:
            self._settle()
            self._last += 1
            number = self._last
            item = OutboxItem(number, channel, build(number), priority)
            dropped = self._on_disk(lambda disk: disk.put([item]))
            if dropped is None:
                dropped = self._spare.put(item)
            return None if number in dropped else number

    def waiting(self, limit: int, *, beyond: Iterable[int] = ()) -> list[OutboxItem]:
        """Return the weightiest, oldest first, without those whose ids are in `beyond` (they are on their way)."""
        with self._lock:
            skipped = self._gone | frozenset(beyond)
            found = self._on_disk(lambda disk: disk.first(limit + len(skipped))) or []
            every = [item for item in (*found, *self._spare.items()) if item.id not in skipped]
            return heapq.nsmallest(limit, every, key=lambda item: (-item.priority, item.id))

    def delete(self, ids: Iterable[int]) -> None:
        """Forget what the registry has."""
        with self._lock:
            self._gone.update(number for number in ids if not self._spare.delete(number))
            self._settle()

    def settle(self) -> None:
        """Try the disk again if it took nothing before."""
        with self._lock:
            self._settle()

    @property
    def size(self) -> int:
        """How many wait."""
        with self._lock:
            on_disk = self._disk.size - len(self._gone) if self._disk is not None else 0
            return max(0, on_disk) + len(self._spare.items())

    @property
    def dropped(self) -> int:
        """How many were dropped for want of room, since the outbox was made."""
        with self._lock:
            return (self._disk.dropped if self._disk is not None else 0) + self._spare.dropped

    def close(self) -> None:
        with self._lock:
            self._settle()
            if self._disk is not None:
                self._disk.close()
                self._disk = None

    def _settle(self) -> None:
        """Bring the disk up to date: what waited in memory, and what is no longer needed."""
        if self._disk is None and not self._open():
            return
        spare = self._spare.items()
        if spare or self._spare.dropped:
            if self._on_disk(lambda disk: disk.put(spare, dropped=self._spare.dropped)) is None:
                return
            self._spare.clear()
        if self._gone and self._on_disk(lambda disk: disk.delete(self._gone)) is not None:
            self._gone.clear()

    def _open(self) -> bool:
        for _ in range(2):
            try:
                self._disk = DiskShelf(self._path, self._limit)
            except sqlite3.DatabaseError as error:
                if not _is_damage(error) or not self._put_aside(error):
                    self.fault = str(error)
                    return False
            except OSError as error:
                self.fault = str(error)
                return False
            else:
                self._last = max(self._last, self._disk.last_id)
                self.fault = None
                return True
        return False

    def _on_disk(self, do: Callable[[DiskShelf], T]) -> T | None:
        """Return what `do` gives, or None where the disk takes it not."""
        if self._disk is None:
            return None
        try:
            done = do(self._disk)
        except sqlite3.Error as error:
            self.fault = str(error)
            if _is_damage(error):
                self._lose(self._disk)
                self._put_aside(error)
            return None
        self.fault = None
        return done

    def _lose(self, disk: DiskShelf) -> None:
        self._spare.dropped += disk.dropped + disk.size
        self._gone.clear()
        disk.close()
        self._disk = None

    def _put_aside(self, error: sqlite3.Error) -> bool:
        log.error("the outbox is damaged and is begun anew; what waited in it is lost", extra={"reason": str(error)})
        try:
            for part in ("", "-wal", "-shm"):
                path = self._path.with_name(self._path.name + part)
                if path.exists():
                    path.replace(path.with_name(path.name + ".damaged"))
        except OSError:
            return False
        return True


def _is_damage(error: sqlite3.Error) -> bool:
    """Return whether the file itself is bad; a disk that is full, read-only or away is an OperationalError."""
    return type(error) is sqlite3.DatabaseError
