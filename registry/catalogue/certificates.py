"""Certificates: every one that was issued, to whom, and which are void."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from registry.catalogue._sqlite import Connections

#: A revoked certificate stays on the list so long after its end, in seconds: clocks differ.
LISTED_BEYOND_S = 86_400.0


class Issued(msgspec.Struct, frozen=True):
    """One certificate, PEM. `holder` is its common name: `<site>.<device>`, or a system of the plant."""

    serial: str
    holder: str
    pem: str
    issued_at: float
    expires_at: float
    revoked_at: float | None = None


class Certificates:
    """The certificates."""

    def __init__(self, connections: Connections, clock: Callable[[], float]) -> None:
        self._connections = connections
        self._clock = clock

    def add(self, holder: str, serial: str, pem: str, expires_at: float) -> None:
        """Keep a certificate that was issued just now."""
        row = {"serial": serial, "holder": holder, "pem": pem, "issued_at": self._clock(), "expires_at": expires_at}
        with self._connections.transaction() as db:
            db["certificates"].insert(row)

    def of(self, holder: str) -> list[Issued]:
        """Return a holder's certificates, newest first."""
        rows = self._connections.rows(
            "SELECT * FROM certificates WHERE holder = ? ORDER BY issued_at DESC, rowid DESC", (holder,)
        )
        return [_issued(row) for row in rows]

    def ends(self, serial: str | None = None) -> dict[str, float]:
        """Return serial number -> when a certificate ends; of one, or of all."""
        rows = self._connections.rows(
            "SELECT serial, expires_at FROM certificates WHERE ? IS NULL OR serial = ?", (serial, serial)
        )
        return {row["serial"]: row["expires_at"] for row in rows}

    def holders(self) -> list[str]:
        """Return everyone who holds a certificate that is not void."""
        rows = self._connections.rows(
            "SELECT DISTINCT holder FROM certificates WHERE revoked_at IS NULL ORDER BY holder"
        )
        return [row["holder"] for row in rows]

    def holders_of(self, serials: Iterable[str]) -> set[str]:
        """Return whose certificates these are."""
        wanted = msgspec.json.encode(list(serials)).decode()
        rows = self._connections.rows(
            "SELECT DISTINCT holder FROM certificates WHERE serial IN (SELECT value FROM json_each(?))", (wanted,)
        )
        return {row["holder"] for row in rows}

    def revoke(self, holder: str) -> int:
        """Make all certificates of a holder void; return how many were not before."""
        with self._connections.transaction() as db:
            changed = db.execute(
                "UPDATE certificates SET revoked_at = ? WHERE holder = ? AND revoked_at IS NULL",
                (self._clock(), holder),
            )
        return int(changed.rowcount)

    def revoked(self) -> list[tuple[str, float]]:
        """Return (serial number, when) of each void certificate that would otherwise still be believed."""
        rows = self._connections.rows(
            "SELECT serial, revoked_at FROM certificates WHERE revoked_at IS NOT NULL AND expires_at > ?"
            " ORDER BY serial",
            (self._clock() - LISTED_BEYOND_S,),
        )
        return [(row["serial"], row["revoked_at"]) for row in rows]

    def generation(self) -> tuple[Any, ...]:
        """Return a value that differs once a certificate or an assignment was added or changed; cheap to ask."""
        row = self._connections.row(
            "SELECT COUNT(*) AS issued, COUNT(revoked_at) AS void,"
            " (SELECT MAX(revision) FROM assignments) AS revision FROM certificates"
        )
        return tuple(row.values()) if row else ()


def _issued(row: Mapping[str, Any]) -> Issued:
    return msgspec.convert(dict(row), Issued)
