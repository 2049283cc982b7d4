"""Assignments: what each device should run. Revisions rise over the whole catalogue: one number tells what is new."""

from collections.abc import Callable

import msgspec

from protocols.assignment import Assignment, decode_assignment, encode_assignment
from registry.catalogue._sqlite import Connections


class Assignments:
    """The newest assignment of each device."""

    def __init__(self, connections: Connections, clock: Callable[[], float]) -> None:
        self._connections = connections
        self._clock = clock

    def get(self, device: str) -> Assignment | None:
        row = self._connections.row("SELECT body FROM assignments WHERE device = ?", (device,))
        return None if row is None else decode_assignment(row["body"])

    def running(self, model: str) -> list[Assignment]:
        """Return the assignments that hold a release of the model."""
        return [found for found in self.list() if any(release.model == model for release in found.releases)]

    def set(self, assignment: Assignment) -> Assignment:
        """Replace a device's assignment and return it with the revision that it got."""
        with self._connections.transaction() as db:
            row = self._connections.row("SELECT COALESCE(MAX(revision), 0) AS revision FROM assignments")
            assert row is not None  # noqa: S101 - an aggregate always has a row
            revised = msgspec.structs.replace(assignment, revision=int(row["revision"]) + 1)
            db["assignments"].insert(
                {
                    "device": revised.device,
                    "revision": revised.revision,
                    "changed_at": self._clock(),
                    "body": encode_assignment(revised),
                },
                pk="device",
                replace=True,
            )
        return revised

    def changed_since(self, revision: int) -> list[tuple[str, int]]:
        """Return (device, revision) of what is newer than `revision`, in order: ask next with the last one."""
        rows = self._connections.rows(
            "SELECT device, revision FROM assignments WHERE revision > ? ORDER BY revision", (revision,)
        )
        return [(row["device"], row["revision"]) for row in rows]

    def list(self) -> list[Assignment]:
        rows = self._connections.rows("SELECT body FROM assignments ORDER BY device")
        return [decode_assignment(row["body"]) for row in rows]
