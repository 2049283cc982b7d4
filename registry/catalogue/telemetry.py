"""Telemetry windows as devices sent them, each once."""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from protocols.messages import Telemetry
from protocols.names import ReleaseRef
from registry.catalogue._sqlite import Connections, forget_rows
from registry.monitoring.merging import DeviceWindow


class Window(DeviceWindow, frozen=True):
    """One telemetry window. `size_bytes` is what it weighed on the wire; `received_at` is the registry's time."""

    site: str
    size_bytes: int
    received_at: float


class Totals(msgspec.Struct, frozen=True):
    """Sums over windows. `size_bytes` is telemetry on the wire."""

    windows: int
    size_bytes: int


_decoder = msgspec.msgpack.Decoder(Telemetry)


class TelemetryWindows:
    """The telemetry windows."""

    def __init__(self, connections: Connections, clock: Callable[[], float]) -> None:
        self._connections = connections
        self._clock = clock

    def add(self, device: str, site: str, telemetry: Telemetry) -> bool:
        """Keep a window; False where the device sent it before."""
        body = msgspec.msgpack.encode(telemetry)
        with self._connections.transaction() as db:
            added = db.execute(
                "INSERT INTO telemetry (device, id, site, stream, model, version, start, "
                '"end", size_bytes, received_at, body) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)'
                " ON CONFLICT (device, id) DO NOTHING",
                (
                    device,
                    telemetry.id,
                    site,
                    telemetry.stream,
                    telemetry.model,
                    telemetry.version,
                    telemetry.start,
                    telemetry.end,
                    len(body),
                    self._clock(),
                    body,
                ),
            )
        return bool(added.rowcount == 1)

    def counted(self, device: str, telemetry: Telemetry) -> bool:
        """Whether another agent's window of the same stream overlaps this one."""
        others = self._connections.rows(
            'SELECT body FROM telemetry WHERE device = ? AND "end" > ? AND start < ? AND stream = ?',
            (device, telemetry.start, telemetry.end, telemetry.stream),
        )
        found = [_decoder.decode(row["body"]).instance for row in others]
        return any(instance != telemetry.instance for instance in found)

    def windows(self, model: str, version: int, since: float, until: float) -> list[Window]:
        """Return a release's windows that end after `since` and no later than `until`, oldest first."""
        rows = self._connections.rows(
            'SELECT * FROM telemetry WHERE model = ? AND version = ? AND "end" > ? AND "end" <= ? ORDER BY "end"',
            (model, version, since, until),
        )
        return [_window(row) for row in rows]

    def releases_after(self, row: int) -> tuple[int, set[ReleaseRef]]:
        """Return the newest row's number, and the releases of all windows that came in after `row`."""
        found = self._connections.row("SELECT COALESCE(MAX(rowid), 0) AS newest FROM telemetry")
        newest = int(found["newest"]) if found else 0
        if newest <= row:
            return newest, set()
        rows = self._connections.rows("SELECT DISTINCT model, version FROM telemetry WHERE rowid > ?", (row,))
        return newest, {ReleaseRef(one["model"], one["version"]) for one in rows}

    def by_device(self, device: str, limit: int = 100) -> list[Window]:
        """Return a device's newest windows, newest first."""
        rows = self._connections.rows(
            'SELECT * FROM telemetry WHERE device = ? ORDER BY "end" DESC, id DESC LIMIT ?', (device, limit)
        )
        return [_window(row) for row in rows]

    def totals(self, model: str | None = None) -> Totals:
        """Count and weigh the windows of one model, or of all."""
        row = self._connections.row(
            "SELECT COUNT(*) AS windows, COALESCE(SUM(size_bytes), 0) AS size_bytes FROM telemetry"
            " WHERE ? IS NULL OR model = ?",
            (model, model),
        )
        return msgspec.convert(row, Totals)

    def forget(self, until: float) -> int:
        """Delete the windows that ended before `until`; return how many."""
        return forget_rows(self._connections, "telemetry", '"end"', until)


def _window(row: Mapping[str, Any]) -> Window:
    return Window(row["device"], _decoder.decode(row["body"]), row["site"], row["size_bytes"], row["received_at"])
