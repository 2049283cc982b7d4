"""API tokens: who may change things. Only digests are kept."""

import hashlib
import secrets
from collections.abc import Callable

import msgspec

from registry.catalogue._sqlite import Connections


class ApiToken(msgspec.Struct, frozen=True):
    """One API token as the catalogue knows it: never the secret. Times: seconds since the epoch."""

    sha256: str
    label: str
    created_at: float


class Tokens:
    """The API tokens."""

    def __init__(self, connections: Connections, clock: Callable[[], float]) -> None:
        self._connections = connections
        self._clock = clock

    def create(self, label: str) -> str:
        """Make a token and return its secret, which is shown this once."""
        secret = secrets.token_urlsafe(32)
        with self._connections.transaction() as db:
            db["tokens"].insert({"sha256": digest(secret), "label": label, "created_at": self._clock()})
        return secret

    def check(self, secret: str) -> bool:
        """Whether the secret is one of the tokens."""
        return self.label(secret) is not None

    def label(self, secret: str) -> str | None:
        """Return the label of the token with this secret, or None: whom a change is put down to."""
        row = self._connections.row("SELECT label FROM tokens WHERE sha256 = ?", (digest(secret),))
        return None if row is None else str(row["label"])

    def list(self) -> list[ApiToken]:
        rows = self._connections.rows("SELECT * FROM tokens ORDER BY created_at")
        return [msgspec.convert(row, ApiToken) for row in rows]


def digest(secret: str) -> str:
    """SHA-256, hex. A secret of 192 random bits and more needs no slower hash."""
    return hashlib.sha256(secret.encode()).hexdigest()
