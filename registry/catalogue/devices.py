"""Devices: what is enrolled, and what each last said of itself."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from protocols.messages import Status
from registry.catalogue._sqlite import Connections
from registry.errors import UnknownDeviceError


class Device(msgspec.Struct, frozen=True):
    """One enrolled device. `status` is its last full report; `online` is newer where the broker reported its end.

    Attributes:
        serial, certificate: those that were issued last.
        revoked_at: since when the registry has nothing to do with it any more.
        cloned_at: when two agents were seen to use its identity.
    """

    name: str
    site: str
    profile: str
    certificate: str
    serial: str
    enrolled_at: float
    online: bool = False
    seen_at: float | None = None
    status: Status | None = None
    revoked_at: float | None = None
    cloned_at: float | None = None


class Standing(msgspec.Struct, frozen=True):
    """What must be known of a device before any of its messages is taken."""

    site: str
    revoked: bool
    cloned: bool


#: Agents that are remembered for a device: enough to know one that comes back.
INSTANCES = 8
_status_decoder = msgspec.msgpack.Decoder(Status)


class Devices:
    """The enrolled devices."""

    def __init__(self, connections: Connections, clock: Callable[[], float]) -> None:
        self._connections = connections
        self._clock = clock

    def add(self, name: str, site: str, profile: str, certificate: str, serial: str) -> None:
        """Enrol a device, or enrol it anew with another certificate; what it reported stays."""
        with self._connections.transaction() as db:
            db.execute(
                "INSERT INTO devices (name, site, profile, certificate, serial, enrolled_at) VALUES (?, ?, ?, ?, ?, ?)"
                " ON CONFLICT (name) DO UPDATE SET site = excluded.site, profile = excluded.profile,"
                " certificate = excluded.certificate, serial = excluded.serial, enrolled_at = excluded.enrolled_at,"
                " revoked_at = NULL, cloned_at = NULL, instance = NULL, rivals = NULL",
                (name, site, profile, certificate, serial, self._clock()),
            )

    def get(self, name: str) -> Device:
        """Return one device.

        Raises:
            UnknownDeviceError: there is none of that name; the text lists those there are.
        """
        found = self.find(name)
        if found is None:
            raise UnknownDeviceError(name, self.names())
        return found

    def find(self, name: str) -> Device | None:
        """Return one device, or None."""
        row = self._connections.row("SELECT * FROM devices WHERE name = ?", (name,))
        return None if row is None else _device(row)

    def standing(self, name: str) -> Standing | None:
        """Return what decides whether a device is listened to, or None where it is not enrolled."""
        row = self._connections.row("SELECT site, revoked_at, cloned_at FROM devices WHERE name = ?", (name,))
        if row is None:
            return None
        return Standing(row["site"], row["revoked_at"] is not None, row["cloned_at"] is not None)

    def heard_of(self, name: str, instance: str, at: float) -> bool:
        """Note which agent speaks for a device; True where this shows, for the first time, that there are two.

        Each agent that starts draws an `instance`. One that took another's place is a restart; one that speaks
        again after another took its place was there all the time. `at` is the time in its status by its own clock:
        a message that the broker brings twice says nothing new.
        """
        with self._connections.transaction() as db:
            row = self._connections.row("SELECT instance, rivals, cloned_at FROM devices WHERE name = ?", (name,))
            if row is None or not instance:
                return False
            seen = {} if row["rivals"] is None else msgspec.json.decode(row["rivals"], type=dict[str, float])
            news, came_back = at > seen.get(instance, -math.inf), instance in seen and row["instance"] != instance
            if not news:
                return False
            first = came_back and row["cloned_at"] is None
            seen.pop(instance, None)
            kept = {**dict(list(seen.items())[1 - INSTANCES :]), instance: at}
            db.execute(
                "UPDATE devices SET instance = ?, rivals = ?, cloned_at = COALESCE(cloned_at, ?) WHERE name = ?",
                (instance, msgspec.json.encode(kept).decode(), self._clock() if came_back else None, name),
            )
        return first

    def renewed(self, name: str, certificate: str, serial: str) -> None:
        """Keep the certificate that a device got in the place of an older one."""
        with self._connections.transaction() as db:
            db.execute("UPDATE devices SET certificate = ?, serial = ? WHERE name = ?", (certificate, serial, name))

    def revoke(self, name: str) -> None:
        """Lock a device out, until it is enrolled anew."""
        with self._connections.transaction() as db:
            db.execute(
                "UPDATE devices SET revoked_at = COALESCE(revoked_at, ?), online = 0 WHERE name = ?",
                (self._clock(), name),
            )

    def names(self) -> list[str]:
        return [row["name"] for row in self._connections.rows("SELECT name FROM devices ORDER BY name")]

    def list(self) -> list[Device]:
        return [_device(row) for row in self._connections.rows("SELECT * FROM devices ORDER BY site, name")]

    def update_status(self, device: str, status: Status) -> None:
        """Keep what a device says of itself. A last will says only that it went, so its last report stays.

        Raises:
            UnknownDeviceError: no such device.
        """
        full = status.online or bool(status.streams) or bool(status.releases)
        with self._connections.transaction() as db:
            changed = db.execute(
                "UPDATE devices SET online = ?, seen_at = ?, status = COALESCE(?, status) WHERE name = ?",
                (status.online, self._clock(), msgspec.msgpack.encode(status) if full else None, device),
            )
        if changed.rowcount != 1:
            raise UnknownDeviceError(device, self.names())


def _device(row: Mapping[str, Any]) -> Device:
    status = None if row["status"] is None else _status_decoder.decode(row["status"])
    return Device(
        row["name"],
        row["site"],
        row["profile"],
        row["certificate"],
        row["serial"],
        row["enrolled_at"],
        bool(row["online"]),
        row["seen_at"],
        status,
        row["revoked_at"],
        row["cloned_at"],
    )
