"""One stream's telemetry window: batches in, one summary of bounded size out. Rows never leave it."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from edge_agent.faults import Faults
from edge_agent.inference import Predictions
from edge_agent.rejections import Rejection
from edge_agent.rows import Rows
from protocols.manifest import Manifest, TensorSpec
from protocols.messages import Telemetry
from protocols.placement import Ran
from protocols.sketches import CategorySketch, NumericSketch
from protocols.summaries import NumericSummary

Array = np.ndarray[Any, Any]
#: Rows that are buffered before they are sketched: sketching a few thousand at once costs little more than one.
BUFFER_ROWS = 4096


class _Buffer:
    """Values of numeric columns, waiting for their sketches."""

    def __init__(self, ranges: Sequence[tuple[float | None, float | None]]) -> None:
        self._values = np.empty((len(ranges), BUFFER_ROWS), dtype=np.float32)
        self._ranges = ranges
        self.sketches = [NumericSketch() for _ in ranges]

    def put(self, place: slice, values: Array) -> None:
        """Keep (columns, rows) at these places."""
        self._values[:, place] = values

    def drain(self, count: int) -> None:
        for sketch, values, (low, high) in zip(self.sketches, self._values, self._ranges, strict=True):
            sketch.update(values[:count], low=low, high=high)


class Window:
    """Accumulates one window of one stream served by one release. Not thread-safe."""

    def __init__(self, stream: str, manifest: Manifest, ran: Ran, start: float) -> None:
        self.stream, self.start = stream, start
        self.predictions = 0
        self.rejected: Counter[str] = Counter()
        self._manifest, self._ran = manifest, ran
        self._bytes_in = 0
        self.late = 0
        self.warming = 0
        self._rows = 0
        self._faults = Faults()
        self._latency = _Buffer([(None, None)])
        numeric = [manifest.inputs[index] for index in numeric_places(manifest.inputs)]
        self._numeric_names = [spec.name for spec in numeric]
        self._numeric = _Buffer([(spec.low, spec.high) for spec in numeric])
        self._texts: dict[int, list[str]] = {
            index: [] for index, spec in enumerate(manifest.inputs) if spec.dtype == "string"
        }
        self._categories = {index: CategorySketch() for index in self._texts}
        self._known = {
            index: frozenset(spec.categories)
            for index, spec in enumerate(manifest.inputs)
            if spec.categories is not None
        }
        self._output_names = [f"probability_{name}" for name in manifest.classes] or ["prediction"]
        self._outputs = _Buffer([(None, None)] * len(self._output_names))
        self._answers_numbers = False

    @property
    def empty(self) -> bool:
        return not self.predictions and not self.rejected and not self.warming

    def add(self, rows: Rows, predictions: Predictions, latency_ms: Array, bytes_in: int, late: int = 0) -> None:
        """Add one served batch: its rows, its predictions, each row's latency in ms, and how many were late."""
        self._bytes_in += bytes_in
        self.predictions += len(predictions)
        self.late += late
        texts = [(index, rows.columns[index][:, 0]) for index in self._texts]
        outputs = self._output_columns(predictions)
        for first in range(0, len(predictions), BUFFER_ROWS):
            part = slice(first, first + BUFFER_ROWS)
            self._make_room(len(latency_ms[part]))
            place = slice(self._rows, self._rows + len(latency_ms[part]))
            self._latency.put(place, latency_ms[part])
            self._numeric.put(place, rows.numbers[:, part])
            for index, column in texts:
                self._texts[index].extend(column[part].tolist())
            if outputs is not None:
                self._answers_numbers = True
                self._outputs.put(place, outputs[:, part])
            self._rows = place.stop

    def _output_columns(self, predictions: Predictions) -> Array | None:
        """Return the outputs as (columns, rows); None where they are no numbers."""
        if predictions.probabilities is not None and self._manifest.classes:
            return predictions.probabilities.T
        return predictions.values[None, :] if predictions.values.dtype.kind == "f" else None

    def _make_room(self, rows: int) -> None:
        if self._rows + rows > BUFFER_ROWS:
            self._drain()

    def reject(self, rejection: Rejection, size_bytes: int, at: float) -> None:
        """Count one message that was not served."""
        self.rejected[rejection.reason] += 1
        self._bytes_in += size_bytes
        self._faults.add(rejection, at)

    def warm(self, messages: int, bytes_in: int) -> None:
        """Count messages that no prediction belongs to, since they only filled a window of rows."""
        self.warming += messages
        self._bytes_in += bytes_in

    def _drain(self) -> None:
        if self._rows:
            self._latency.drain(self._rows)
            self._numeric.drain(self._rows)
            if self._answers_numbers:
                self._outputs.drain(self._rows)
        for index, texts in self._texts.items():
            if texts:
                self._categories[index].update(texts, known=self._known.get(index))
                texts.clear()
        self._rows = 0

    def summary(self, number: int, end: float, dropped: int) -> Telemetry:
        """Return the window as a message; `number` is its id in the outbox."""
        self._drain()
        inputs, faults = self._manifest.inputs, self._faults.listed()
        return Telemetry(
            id=number,
            stream=self.stream,
            model=self._manifest.model,
            version=self._manifest.version,
            provider=self._ran.provider,
            asked=self._ran.asked,
            placement=self._ran.placement,
            start=self.start,
            end=end,
            predictions=self.predictions,
            rejected=dict(self.rejected),
            dropped=dropped,
            bytes_in=self._bytes_in,
            late=self.late,
            warming=self.warming,
            latency=self._latency.sketches[0].summary(),
            numeric=_summaries(self._numeric_names, self._numeric),
            categories={inputs[index].name: sketch.summary() for index, sketch in self._categories.items()},
            outputs=_summaries(self._output_names, self._outputs),
            sample=f"{faults[0].reason}: {faults[0].text}" if faults else None,
            faults=faults,
        )


def numeric_places(inputs: Sequence[TensorSpec]) -> list[int]:
    """Return the places of the inputs that are numbers, as `Rows.numbers` orders them: float32, then int64."""
    return [index for dtype in ("float32", "int64") for index, spec in enumerate(inputs) if spec.dtype == dtype]


def _summaries(names: Sequence[str], buffer: _Buffer) -> dict[str, NumericSummary]:
    return {name: sketch.summary() for name, sketch in zip(names, buffer.sketches, strict=True)}
