"""Events: what happened on devices, and what was changed in the registry and by whom."""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from protocols.messages import Event, Level
from registry.catalogue._sqlite import Connections, forget_rows


class StoredEvent(msgspec.Struct, frozen=True):
    """One event. `device` is None for the registry's own. `number` rises by arrival."""

    number: int
    device: str | None
    id: int
    at: float
    kind: str
    level: Level
    text: str
    model: str | None
    version: int | None
    detail: dict[str, Any]


class Events:
    """The events."""

    def __init__(self, connections: Connections, clock: Callable[[], float]) -> None:
        self._connections = connections
        self._clock = clock

    def add(self, device: str, event: Event) -> bool:
        """Keep a device's event; False where the device sent it before."""
        return self._insert(device, event)

    def record(
        self,
        kind: str,
        text: str,
        *,
        level: Level = "info",
        model: str | None = None,
        version: int | None = None,
        detail: Mapping[str, Any] | None = None,
    ) -> None:
        """Keep an event of the registry's own: what changed, and in `detail` who changed it."""
        with self._connections.transaction():
            row = self._connections.row("SELECT COALESCE(MAX(id), 0) AS id FROM events WHERE device IS NULL")
            assert row is not None  # noqa: S101 - an aggregate always has a row
            event = Event(int(row["id"]) + 1, self._clock(), kind, level, text, model, version, dict(detail or {}))
            self._insert(None, event)

    def _insert(self, device: str | None, event: Event) -> bool:
        with self._connections.transaction() as db:
            added = db.execute(
                "INSERT INTO events (device, id, at, kind, level, text, model, version, detail)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (device, id) DO NOTHING",
                (
                    device,
                    event.id,
                    event.at,
                    event.kind,
                    event.level,
                    event.text,
                    event.model,
                    event.version,
                    msgspec.json.encode(event.detail).decode(),
                ),
            )
        return bool(added.rowcount == 1)

    def list(self, device: str | None = None, model: str | None = None, limit: int = 100) -> list[StoredEvent]:
        """Return the newest events, newest first; of one device or one model where given.

        A device's are those that it sent and those that the registry records about it.
        """
        rows = self._connections.rows(
            "SELECT * FROM events WHERE (? IS NULL OR device = ?"
            " OR (device IS NULL AND json_extract(detail, '$.device') = ?))"
            " AND (? IS NULL OR model = ?) ORDER BY at DESC, number DESC LIMIT ?",
            (device, device, device, model, model, limit),
        )
        return [_event(row) for row in rows]

    def forget(self, until: float) -> int:
        """Delete the events from before `until`; return how many."""
        return forget_rows(self._connections, "events", "at", until)


def _event(row: Mapping[str, Any]) -> StoredEvent:
    return msgspec.convert({**row, "detail": msgspec.json.decode(row["detail"])}, StoredEvent)
