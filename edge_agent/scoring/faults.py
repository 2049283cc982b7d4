"""Bad rows: what happens to them, and the side file that says which they were and why."""

import os
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec

from edge_agent.scoring.json_text import value_of
from edge_agent.scoring.predictor import Scored
from edge_agent.scoring.sources import Notation

#: `stop` at the first, `skip` them, or keep their place with a prediction of `null`.
OnError = Literal["stop", "skip", "null"]
#: Reasons that differ in what they quote, or in a number, are counted as one.
_PARTICULAR = re.compile(r"(?<=: )'[^']*'(?=: )|(?<=: )\S+(?= is beyond)|line \d+|(?<=byte )\d+")
_KINDS_KEPT = 50


class BadRow(msgspec.Struct, frozen=True, omit_defaults=True):
    """One row of the side file. `values` are its cells that were read, or `text` the row as it stood."""

    row: int
    reason: str
    values: dict[str, Any] | None = None
    text: str | None = None


def bad_rows(scored: Scored, notation: Notation) -> list[BadRow]:
    """Return the bad rows of a batch, in their order."""
    batch = scored.prepared.batch
    found = [BadRow(row.number, row.reason, text=row.text) for row in batch.lost]
    if scored.prepared.bad:
        numbers = batch.numbers
        for place, reason in scored.prepared.bad.items():
            values = batch.table.slice(place, 1).to_pylist()[0]
            values = {name: value for name, value in values.items() if not isinstance(value, bytes)}
            if notation == "json":
                values = {name: value_of(text) for name, text in values.items() if text is not None}
            found.append(BadRow(int(numbers[place]), reason, values=values))
    return sorted(found, key=lambda row: row.row)


class FaultFile:
    """The side file of one run, and how many rows of each kind are in it. It exists once there is a bad row."""

    def __init__(self, path: Path, size: int = 0, counts: dict[str, int] | None = None) -> None:
        self._path = path
        self.counts = Counter(counts or {})
        self._file = path.open("r+b") if size else None
        if self._file is not None:
            self._file.truncate(size)
            self._file.seek(0, os.SEEK_END)
        else:
            path.unlink(missing_ok=True)

    def add(self, rows: Sequence[BadRow]) -> None:
        if not rows:
            return
        if self._file is None:
            self._file = self._path.open("w+b")
        self._file.write(b"".join(msgspec.json.encode(row, enc_hook=str) + b"\n" for row in rows))
        for row in rows:
            kind = _PARTICULAR.sub("...", row.reason)
            self.counts[kind if kind in self.counts or len(self.counts) < _KINDS_KEPT else "other reasons"] += 1

    def commit(self) -> int:
        """Make it durable and return its size."""
        if self._file is None:
            return 0
        self._file.flush()
        os.fsync(self._file.fileno())
        return self._file.tell()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
