"""Models: named lines of releases, each with a champion."""

from collections.abc import Callable

import msgspec

from protocols.names import ReleaseRef
from registry.catalogue._sqlite import Connections
from registry.errors import UnknownModelError, UnknownReleaseError


class Model(msgspec.Struct, frozen=True):
    """One model. `champion` is the version that its devices should run; None while nothing is published."""

    name: str
    last_version: int
    created_at: float
    champion: int | None = None


class Models:
    """The models."""

    def __init__(self, connections: Connections, clock: Callable[[], float]) -> None:
        self._connections = connections
        self._clock = clock

    def list(self) -> list[Model]:
        """Return every model that has a release, by name."""
        rows = self._connections.rows(
            "SELECT * FROM models WHERE EXISTS (SELECT 1 FROM releases WHERE model = models.name) ORDER BY name"
        )
        return [msgspec.convert(row, Model) for row in rows]

    def get(self, name: str) -> Model:
        """Return one model.

        Raises:
            UnknownModelError: there is none of that name; the text lists those there are.
        """
        for model in self.list():
            if model.name == name:
                return model
        raise UnknownModelError(name, [model.name for model in self.list()])

    def set_champion(self, ref: ReleaseRef) -> None:
        """Say which release is the one to beat.

        Raises:
            UnknownReleaseError: the model has no such release.
        """
        with self._connections.transaction() as db:
            known = [row["version"] for row in db.query("SELECT version FROM releases WHERE model = ?", (ref.model,))]
            if ref.version not in known:
                raise UnknownReleaseError(ref, sorted(known))
            db.execute("UPDATE models SET champion = ? WHERE name = ?", (ref.version, ref.model))

    def champion(self, model: str) -> ReleaseRef | None:
        """Return the release to beat, or None where there is none."""
        row = self._connections.row("SELECT champion FROM models WHERE name = ?", (model,))
        return None if row is None or row["champion"] is None else ReleaseRef(model, row["champion"])
