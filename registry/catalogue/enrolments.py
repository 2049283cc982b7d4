"""Enrolment tokens: one device, one use, a short life. Only digests are kept."""

import secrets
from collections.abc import Callable
from datetime import UTC, datetime

from protocols.names import check_name
from registry.catalogue._sqlite import Connections
from registry.catalogue.tokens import digest
from registry.errors import DeviceEnrolledError, TokenRefusedError


class Enrolments:
    """The secrets inside enrolment tokens."""

    def __init__(self, connections: Connections, clock: Callable[[], float]) -> None:
        self._connections = connections
        self._clock = clock

    def create(self, device: str, site: str, ttl_s: float, *, replace: bool = False) -> str:
        """Return a new secret that enrols this device once, within `ttl_s` seconds.

        Args:
            replace: the name may be enrolled already; whoever uses the secret then takes its place.

        Raises:
            NameRefusedError: device or site cannot be a topic level.
            DeviceEnrolledError: the name is enrolled, and nobody asked for it to be replaced.
        """
        check_name("device", device)
        check_name("site", site)
        secret, now = secrets.token_urlsafe(24), self._clock()
        row = {"sha256": digest(secret), "device": device, "site": site, "created_at": now, "expires_at": now + ttl_s}
        with self._connections.transaction() as db:
            if not replace:
                self._check_free(device)
            db["enrolments"].insert({**row, "replaces": replace})
        return secret

    def use(self, secret: str, device: str, site: str) -> None:
        """Use up a secret. Of two who use it at the same time, one gets through.

        Raises:
            TokenRefusedError: it is unknown, used, expired, or made for another device; the text says which.
            DeviceEnrolledError: the name was enrolled since, by another secret, and this one may not replace it.
        """
        sha256, now = digest(secret), self._clock()
        with self._connections.transaction() as db:
            used = db.execute(
                "UPDATE enrolments SET used_at = ? WHERE sha256 = ? AND used_at IS NULL AND expires_at > ?"
                " AND device = ? AND site = ?",
                (now, sha256, now, device, site),
            )
            if used.rowcount != 1:
                raise TokenRefusedError(self._why(sha256, device, site, now))
            made = self._connections.row("SELECT replaces FROM enrolments WHERE sha256 = ?", (sha256,))
            if made is not None and not made["replaces"]:
                self._check_free(device)

    def _check_free(self, device: str) -> None:
        row = self._connections.row("SELECT enrolled_at, seen_at FROM devices WHERE name = ?", (device,))
        if row is not None:
            heard = "never heard" if row["seen_at"] is None else f"last heard at {_utc(row['seen_at'])}"
            raise DeviceEnrolledError(device, _utc(row["enrolled_at"]), heard)

    def _why(self, sha256: str, device: str, site: str, now: float) -> str:
        row = self._connections.row("SELECT * FROM enrolments WHERE sha256 = ?", (sha256,))
        if row is None:
            return "this registry never made it"
        if row["used_at"] is not None:
            return f"it was used at {_utc(row['used_at'])}, and a token works once"
        if row["expires_at"] <= now:
            return f"it expired at {_utc(row['expires_at'])}"
        return f"it is for device {row['device']!r} at site {row['site']!r}, not for {device!r} at {site!r}"


def _utc(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
