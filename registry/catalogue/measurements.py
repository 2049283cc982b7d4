"""Measurements: graphs that devices are asked to time, and what each device said of them."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from protocols.manifest import FileInfo
from protocols.measuring import DeviceFigures
from registry.catalogue._sqlite import Connections, forget_rows
from registry.errors import UnknownMeasurementError


class AskedDevice(msgspec.Struct, frozen=True):
    """One device of a measurement. `figures` None: it has not answered."""

    device: str
    profile: str
    figures: DeviceFigures | None = None


class Measurement(msgspec.Struct, frozen=True):
    """One graph, and the devices that are asked to measure it. Times: seconds UTC.

    Attributes:
        files: name -> digest and size, as the devices fetch them.
        seconds: longest that a device may measure, once it has begun.
        expires_at: from then on, what no device has answered stays unanswered.
    """

    id: int
    model: str
    files: dict[str, FileInfo]
    created_at: float
    expires_at: float
    seconds: float
    asked_by: str
    devices: tuple[AskedDevice, ...]

    @property
    def finished(self) -> bool:
        """Whether each device has an outcome."""
        return all(asked.figures is not None for asked in self.devices)


_files = msgspec.json.Decoder(dict[str, FileInfo])
_figures = msgspec.json.Decoder(DeviceFigures)


class Measurements:
    """The measurements. Numbers rise and are never used again."""

    def __init__(self, connections: Connections, clock: Callable[[], float]) -> None:
        self._connections, self._clock = connections, clock

    def add(
        self,
        model: str,
        files: Mapping[str, FileInfo],
        devices: Sequence[tuple[str, str]],
        *,
        expires_at: float,
        seconds: float,
        asked_by: str,
    ) -> int:
        """Keep a measurement for devices (name, profile), and return its number."""
        with self._connections.transaction() as db:
            row = {
                "model": model,
                "files": msgspec.json.encode(files).decode(),
                "created_at": self._clock(),
                "expires_at": expires_at,
                "seconds": seconds,
                "asked_by": asked_by,
            }
            number = int(db["measurements"].insert(row).last_pk)
            asked = [{"measurement": number, "device": name, "profile": profile} for name, profile in devices]
            db["measured_devices"].insert_all(asked)
        return number

    def get(self, number: int) -> Measurement:
        """Return one measurement.

        Raises:
            UnknownMeasurementError: there is none of that number.
        """
        row = self._connections.row("SELECT * FROM measurements WHERE id = ?", (number,))
        if row is None:
            raise UnknownMeasurementError(number)
        return self._measurement(row)

    def waiting(self, device: str) -> list[Measurement]:
        """Return what a device has not answered, oldest first."""
        rows = self._connections.rows(
            "SELECT measurements.* FROM measurements JOIN measured_devices ON measurement = id"
            " WHERE device = ? AND figures IS NULL ORDER BY id",
            (device,),
        )
        return [self._measurement(row) for row in rows]

    def count_waiting(self) -> int:
        """Return how many answers of devices are waited for."""
        row = self._connections.row("SELECT COUNT(*) AS rows FROM measured_devices WHERE figures IS NULL")
        return 0 if row is None else int(row["rows"])

    def answer(self, number: int, device: str, figures: DeviceFigures) -> bool:
        """Keep what a measurement came to on one device; False where it is not asked, or has an outcome already."""
        with self._connections.transaction() as db:
            changed = db.execute(
                "UPDATE measured_devices SET figures = ?, answered_at = ?"
                " WHERE measurement = ? AND device = ? AND figures IS NULL",
                (msgspec.json.encode(figures).decode(), self._clock(), number, device),
            )
        return bool(changed.rowcount == 1)

    def overdue(self, now: float) -> list[tuple[int, str, str]]:
        """Return (number, device, profile) of what has expired without an answer."""
        rows = self._connections.rows(
            "SELECT id, device, profile FROM measurements JOIN measured_devices ON measurement = id"
            " WHERE figures IS NULL AND expires_at <= ? ORDER BY id",
            (now,),
        )
        return [(row["id"], row["device"], row["profile"]) for row in rows]

    def signed_in_vain(self) -> list[str]:
        """Return the devices for which the director still signs what has an outcome."""
        rows = self._connections.rows(
            "SELECT DISTINCT device FROM measured_devices WHERE signed = 1 AND figures IS NOT NULL ORDER BY device"
        )
        return [row["device"] for row in rows]

    def no_longer_signed(self, device: str) -> None:
        """Note that the director signs for a device what has no outcome yet, and nothing more."""
        with self._connections.transaction() as db:
            db.execute("UPDATE measured_devices SET signed = 0 WHERE device = ? AND figures IS NOT NULL", (device,))

    def changed_since(self, number: int) -> list[tuple[str, int]]:
        """Return (device, newest measurement) of what is newer than `number`, in order: ask next with the last one."""
        rows = self._connections.rows(
            "SELECT device, MAX(measurement) AS newest FROM measured_devices WHERE measurement > ?"
            " GROUP BY device ORDER BY newest",
            (number,),
        )
        return [(row["device"], row["newest"]) for row in rows]

    def open_numbers(self) -> set[int]:
        """Return the measurements that some device has yet to answer, or may still fetch."""
        rows = self._connections.rows(
            "SELECT DISTINCT measurement FROM measured_devices WHERE figures IS NULL OR signed = 1"
        )
        return {row["measurement"] for row in rows}

    def forget(self, until: float) -> int:
        """Delete the measurements that expired before `until`; return how many."""
        return forget_rows(self._connections, "measurements", "expires_at", until)

    def newest(self) -> int:
        """Return the number of the newest measurement; 0 before the first."""
        row = self._connections.row("SELECT COALESCE(MAX(id), 0) AS newest FROM measurements")
        return 0 if row is None else int(row["newest"])

    def list(self, limit: int = 100) -> list[Measurement]:
        """Return the newest measurements, newest first."""
        rows = self._connections.rows("SELECT * FROM measurements ORDER BY id DESC LIMIT ?", (limit,))
        return [self._measurement(row) for row in rows]

    def _measurement(self, row: Mapping[str, Any]) -> Measurement:
        asked = self._connections.rows(
            "SELECT device, profile, figures FROM measured_devices WHERE measurement = ? ORDER BY device", (row["id"],)
        )
        return Measurement(
            row["id"],
            row["model"],
            _files.decode(row["files"]),
            row["created_at"],
            row["expires_at"],
            row["seconds"],
            row["asked_by"],
            tuple(
                AskedDevice(
                    one["device"], one["profile"], None if one["figures"] is None else _figures.decode(one["figures"])
                )
                for one in asked
            ),
        )
