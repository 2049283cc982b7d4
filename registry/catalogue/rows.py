"""Labelled rows: inputs with the truth that came later, which retraining and comparison use."""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from registry.catalogue._sqlite import Connections

_decoder = msgspec.json.Decoder(dict[str, Any])


class LabelledRows:
    """The labelled rows of each model, in order of arrival."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    def append(self, model: str, rows: Iterable[Mapping[str, Any]], arrived_at: float) -> int:
        """Keep rows (column -> value), all or none; return how many."""
        records = [{"model": model, "arrived_at": arrived_at, "body": msgspec.json.encode(row)} for row in rows]
        with self._connections.transaction() as db:
            db["labelled_rows"].insert_all(records)
        return len(records)

    def newest(self, model: str, limit: int) -> list[dict[str, Any]]:
        """Return the newest rows, oldest of them first."""
        rows = self._connections.rows(
            "SELECT body FROM labelled_rows WHERE model = ? ORDER BY id DESC LIMIT ?", (model, limit)
        )
        return [_decoder.decode(row["body"]) for row in reversed(rows)]

    def count(self, model: str) -> int:
        row = self._connections.row("SELECT COUNT(*) AS rows FROM labelled_rows WHERE model = ?", (model,))
        return 0 if row is None else int(row["rows"])
