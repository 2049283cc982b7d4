"""Batches to predictions: columns to the model's inputs; rows that it cannot take are bad, each with its reason."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from edge_agent.errors import ModelRunError
from edge_agent.inference import Predictions
from edge_agent.scoring.cells import read_cells
from edge_agent.scoring.sources import Batch, Notation
from protocols.manifest import Manifest

Array = np.ndarray[Any, Any]


class Predicts(Protocol):
    """What serves a release: `edge_agent.inference.Model`."""

    def predict(self, columns: Sequence[Array]) -> Predictions: ...


@dataclass(frozen=True, slots=True)
class Prepared:
    """A batch, the model's inputs for its good rows, and by row of its table why the others are bad."""

    batch: Batch
    columns: list[Array]
    bad: dict[int, str]

    @property
    def good(self) -> Array | None:
        """The places in the table of the rows that the model takes; None for all."""
        if not self.bad:
            return None
        every: Array = np.arange(self.batch.table.num_rows)
        return np.delete(every, list(self.bad))


@dataclass(frozen=True, slots=True)
class Scored:
    """A prepared batch and its predictions, one for each good row."""

    prepared: Prepared
    predictions: Predictions | None


class Predictor:
    """Scores the batches of one source with one model."""

    def __init__(self, model: Predicts, manifest: Manifest, notation: Notation) -> None:
        self._model, self._inputs, self._notation = model, manifest.inputs, notation

    def prepare(self, batch: Batch) -> Prepared:
        """Return the model's inputs."""
        found = [read_cells(batch.table.column(spec.name), spec, self._notation) for spec in self._inputs]
        bad: dict[int, str] = {}
        for cells in found:
            for row, reason in cells.bad.items():
                bad.setdefault(row, reason)
        prepared = Prepared(batch, [cells.values for cells in found], dict(sorted(bad.items())))
        return _without(prepared, prepared.good)

    def predict(self, prepared: Prepared) -> Scored:
        """Return the predictions; rows on which the model fails are looked for, and are bad."""
        rows = len(prepared.columns[0])
        if not rows:
            return Scored(prepared, None)
        try:
            return Scored(prepared, self._model.predict(prepared.columns))
        except ModelRunError as error:
            failed = self._failing(prepared.columns, 0, rows, str(error))
        places = np.arange(prepared.batch.table.num_rows) if prepared.good is None else prepared.good
        bad = prepared.bad | {int(places[row]): reason for row, reason in failed.items()}
        kept: Array = np.delete(np.arange(rows), list(failed))
        again = Prepared(prepared.batch, [column[kept] for column in prepared.columns], dict(sorted(bad.items())))
        return Scored(again, self._model.predict(again.columns) if len(kept) else None)

    def _failing(self, columns: Sequence[Array], start: int, end: int, reason: str) -> dict[int, str]:
        """Return by row why the model fails, for a span of rows that it is known to fail on."""
        if end - start == 1:
            return {start: reason}
        middle = (start + end) // 2
        found: dict[int, str] = {}
        for begin, stop in ((start, middle), (middle, end)):
            try:
                self._model.predict([column[begin:stop] for column in columns])
            except ModelRunError as error:
                found |= self._failing(columns, begin, stop, str(error))
        return found or dict.fromkeys(range(start, end), reason)


def _without(prepared: Prepared, good: Array | None) -> Prepared:
    if good is None:
        return prepared
    return Prepared(prepared.batch, [column[good] for column in prepared.columns], prepared.bad)
