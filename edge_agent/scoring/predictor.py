"""Batches to predictions: rows to what the model takes; rows that it cannot take are bad, each with its reason."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from edge_agent.errors import ModelRunError
from edge_agent.feeding import BATCH_BYTES, StateCarrier, make_windows
from edge_agent.inference import Model, Predictions
from edge_agent.scoring.cells import read_cells
from edge_agent.scoring.image_folder import PATH
from edge_agent.scoring.pictures import PictureReader
from edge_agent.scoring.sources import Batch, Notation
from protocols.feeding import Image, Window
from protocols.manifest import Manifest

Array = np.ndarray[Any, Any]


class Memory(msgspec.Struct, frozen=True):
    """What a model that looks back needs to go on after a row: float32 arrays, as bytes with their shapes."""

    shapes: list[list[int]] = []
    values: list[bytes] = []

    @classmethod
    def of(cls, arrays: Sequence[Array]) -> "Memory":
        return cls([list(each.shape) for each in arrays], [each.astype(np.float32).tobytes() for each in arrays])

    @property
    def arrays(self) -> list[Array]:
        pairs = zip(self.shapes, self.values, strict=True)
        return [np.frombuffer(values, dtype=np.float32).reshape(shape).copy() for shape, values in pairs]


@dataclass(frozen=True, slots=True)
class Prepared:
    """A batch, the manifest's inputs for its good rows, and by row of its table why the others are bad.

    Attributes:
        tensor: of an image model: what its graph takes; `columns` are then the images' figures.
    """

    batch: Batch
    columns: list[Array]
    bad: dict[int, str]
    tensor: Array | None = None

    @property
    def good(self) -> Array | None:
        """The places in the table of the rows that the model takes; None for all."""
        if not self.bad:
            return None
        every: Array = np.arange(self.batch.table.num_rows)
        return np.delete(every, list(self.bad))


@dataclass(frozen=True, slots=True)
class Scored:
    """A prepared batch and its predictions, one for each good row but the first `filling`.

    Attributes:
        filling: good rows that only filled the first window.
        memory: what the model needs to go on after this batch.
    """

    prepared: Prepared
    predictions: Predictions | None
    filling: int
    memory: Memory


class Predictor:
    """Scores the batches of one source with one model, in their order.

    Args:
        memory: what an earlier run had come to.
    """

    def __init__(self, model: Model, manifest: Manifest, notation: Notation, memory: Memory | None = None) -> None:
        self._model, self._manifest, self._notation = model, manifest, notation
        feeding = manifest.feeding
        self._window = feeding if isinstance(feeding, Window) else None
        self._pictures = PictureReader(feeding) if isinstance(feeding, Image) else None
        self._last: Array = np.empty((0, len(manifest.inputs)), dtype=np.float32)
        self._carrier = StateCarrier(manifest.state) if manifest.state else None
        remembered = memory.arrays if memory is not None else []
        if self._window is not None and remembered:
            self._last = remembered.pop(0)
        if self._carrier is not None and remembered:
            self._carrier.state = remembered

    @property
    def most_rows(self) -> int | None:
        """How many rows a batch may have, where their tensors are large; None for any number."""
        return self._pictures.most_rows if self._pictures is not None else None

    def prepare(self, batch: Batch) -> Prepared:
        """Return the model's inputs. Called from another thread than `predict`."""
        if self._pictures is not None:
            read = self._pictures.read(batch.table.column(PATH).to_pylist())
            return Prepared(batch, read.figures, read.bad, read.tensor)
        found = [read_cells(batch.table.column(spec.name), spec, self._notation) for spec in self._manifest.inputs]
        bad: dict[int, str] = {}
        for cells in found:
            for row, reason in cells.bad.items():
                bad.setdefault(row, reason)
        prepared = Prepared(batch, [cells.values for cells in found], dict(sorted(bad.items())))
        good = prepared.good
        if good is None:
            return prepared
        return Prepared(batch, [column[good] for column in prepared.columns], prepared.bad)

    def predict(self, prepared: Prepared) -> Scored:
        """Return the predictions; rows on which the model fails are looked for, and are bad."""
        rows = len(prepared.columns[0])
        filling = at = self._filling(rows)
        parts: list[Predictions] = []
        failed: dict[int, str] = {}
        for tensors in self._tensors(prepared):
            predictions, bad = self._run(tensors)
            parts += [predictions] if predictions is not None else []
            failed |= {at + row: reason for row, reason in bad.items()}
            at += len(tensors[0])
        return Scored(_without(prepared, failed), _joined(parts), filling, self._memory())

    def _filling(self, rows: int) -> int:
        if self._window is None:
            return 0
        return min(rows, max(0, self._window.rows - 1 - len(self._last)))

    def _tensors(self, prepared: Prepared) -> Iterator[list[Array]]:
        """Yield what the graph takes, its state left out, in parts of bounded size."""
        if not len(prepared.columns[0]):
            return
        if prepared.tensor is not None:
            yield [prepared.tensor]
        elif self._window is None:
            yield prepared.columns
        else:
            yield from self._windows(self._window, np.concatenate(prepared.columns, axis=1))

    def _windows(self, window: Window, rows: Array) -> Iterator[list[Array]]:
        step = max(1, BATCH_BYTES // (4 * window.rows * rows.shape[1]))
        for start in range(0, len(rows), step):
            history = np.concatenate([self._last, rows[start : start + step]])
            self._last = history[max(0, len(history) - window.rows + 1) :].copy()
            if len(history) >= window.rows:
                yield [make_windows(history, window.rows)]

    def _run(self, tensors: list[Array]) -> tuple[Predictions | None, dict[int, str]]:
        """Return the predictions of the rows on which the model does not fail, and why it fails on the others."""
        if self._carrier is not None:
            return self._run_in_turn(self._carrier, tensors)
        try:
            return self._model.predict(tensors), {}
        except ModelRunError as error:
            failed = self._failing(tensors, 0, len(tensors[0]), str(error))
        kept: Array = np.delete(np.arange(len(tensors[0])), list(failed))
        return (self._model.predict([each[kept] for each in tensors]) if len(kept) else None), failed

    def _run_in_turn(self, carrier: StateCarrier, tensors: list[Array]) -> tuple[Predictions | None, dict[int, str]]:
        parts: list[Predictions] = []
        failed: dict[int, str] = {}
        for row in range(len(tensors[0])):
            try:
                parts.append(carrier.predict(self._model, [each[row : row + 1] for each in tensors]))
            except ModelRunError as error:
                failed[row] = str(error)
        return _joined(parts), failed

    def _failing(self, tensors: Sequence[Array], start: int, end: int, reason: str) -> dict[int, str]:
        """Return by row why the model fails, for a span of rows that it is known to fail on."""
        if end - start == 1:
            return {start: reason}
        middle = (start + end) // 2
        found: dict[int, str] = {}
        for begin, stop in ((start, middle), (middle, end)):
            try:
                self._model.predict([each[begin:stop] for each in tensors])
            except ModelRunError as error:
                found |= self._failing(tensors, begin, stop, str(error))
        return found or dict.fromkeys(range(start, end), reason)

    def _memory(self) -> Memory:
        if self._window is None and self._carrier is None:
            return Memory()
        window = [self._last] if self._window is not None else []
        return Memory.of([*window, *(self._carrier.state if self._carrier is not None else [])])


def _without(prepared: Prepared, failed: dict[int, str]) -> Prepared:
    """Return the batch with some of its good rows bad."""
    if not failed:
        return prepared
    good = prepared.good
    places = np.arange(prepared.batch.table.num_rows) if good is None else good
    bad = prepared.bad | {int(places[row]): reason for row, reason in failed.items()}
    kept: Array = np.delete(np.arange(len(places)), list(failed))
    return Prepared(prepared.batch, [column[kept] for column in prepared.columns], dict(sorted(bad.items())))


def _joined(parts: Sequence[Predictions]) -> Predictions | None:
    if len(parts) < 2:
        return parts[0] if parts else None
    shares = [part.probabilities for part in parts if part.probabilities is not None]
    added = [part.contributions for part in parts if part.contributions is not None]
    return Predictions(
        np.concatenate([part.values for part in parts]),
        np.concatenate(shares) if shares else None,
        np.concatenate(added) if added else None,
    )
