"""One stream's telemetry window: batches in, one summary of bounded size out. Rows never leave it."""

from collections import Counter
from typing import Any

import numpy as np

from edge_agent.faults import Faults
from edge_agent.inference import Predictions
from edge_agent.rows import Rejection
from protocols.manifest import Manifest
from protocols.messages import Telemetry
from protocols.sketches import CategorySketch, NumericSketch

Array = np.ndarray[Any, Any]
#: Rows that are buffered before they are sketched: sketching a few thousand at once costs little more than one.
BUFFER_ROWS = 4096


class _Buffer:
    """Values of one numeric column, waiting for their sketch."""

    __slots__ = ("high", "low", "sketch", "values")

    def __init__(self, low: float | None = None, high: float | None = None) -> None:
        self.values = np.empty(BUFFER_ROWS, dtype=np.float32)
        self.sketch = NumericSketch()
        self.low, self.high = low, high

    def drain(self, count: int) -> None:
        if count:
            self.sketch.update(self.values[:count], low=self.low, high=self.high)


class Window:
    """Accumulates one window of one stream served by one release. Not thread-safe."""

    def __init__(self, stream: str, manifest: Manifest, provider: str, start: float) -> None:
        self.stream, self.start = stream, start
        self.predictions = 0
        self.rejected: Counter[str] = Counter()
        self._manifest, self._provider = manifest, provider
        self._bytes_in = 0
        self._rows = 0
        self._faults = Faults()
        self._latency = _Buffer()
        self._numeric = {
            index: _Buffer(spec.low, spec.high) for index, spec in enumerate(manifest.inputs) if spec.dtype != "string"
        }
        self._texts: dict[int, list[str]] = {
            index: [] for index, spec in enumerate(manifest.inputs) if spec.dtype == "string"
        }
        self._categories = {index: CategorySketch() for index in self._texts}
        self._known = {
            index: frozenset(spec.categories)
            for index, spec in enumerate(manifest.inputs)
            if spec.categories is not None
        }
        names = [f"probability_{name}" for name in manifest.classes] if manifest.classes else ["prediction"]
        self._outputs = {name: _Buffer() for name in names}

    @property
    def empty(self) -> bool:
        return not self.predictions and not self.rejected

    def add(self, columns: list[Array], predictions: Predictions, latency_ms: Array, bytes_in: int) -> None:
        """Add one served batch: (rows, 1) columns, its predictions, and each row's latency in ms."""
        self._bytes_in += bytes_in
        self.predictions += len(predictions)
        outputs = self._output_columns(predictions)
        for first in range(0, len(predictions), BUFFER_ROWS):
            part = slice(first, first + BUFFER_ROWS)
            self._add_part([column[part] for column in columns], [out[part] for out in outputs], latency_ms[part])

    def _output_columns(self, predictions: Predictions) -> list[Array]:
        if predictions.probabilities is not None and self._manifest.classes:
            return list(predictions.probabilities.T)
        return [predictions.values] if predictions.values.dtype.kind == "f" else []

    def _add_part(self, columns: list[Array], outputs: list[Array], latency_ms: Array) -> None:
        if self._rows + len(latency_ms) > BUFFER_ROWS:
            self._drain()
        place = slice(self._rows, self._rows + len(latency_ms))
        self._latency.values[place] = latency_ms
        for index, buffer in self._numeric.items():
            buffer.values[place] = columns[index][:, 0]
        for index, texts in self._texts.items():
            texts.extend(columns[index][:, 0].tolist())
        for buffer, output in zip(self._outputs.values(), outputs, strict=False):
            buffer.values[place] = output
        self._rows = place.stop

    def reject(self, rejection: Rejection, size_bytes: int, at: float) -> None:
        """Count one message that was not served."""
        self.rejected[rejection.reason] += 1
        self._bytes_in += size_bytes
        self._faults.add(rejection, at)

    def _drain(self) -> None:
        for buffer in (self._latency, *self._numeric.values(), *self._outputs.values()):
            buffer.drain(self._rows)
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
            provider=self._provider,
            start=self.start,
            end=end,
            predictions=self.predictions,
            rejected=dict(self.rejected),
            dropped=dropped,
            bytes_in=self._bytes_in,
            latency=self._latency.sketch.summary(),
            numeric={inputs[index].name: buffer.sketch.summary() for index, buffer in self._numeric.items()},
            categories={inputs[index].name: sketch.summary() for index, sketch in self._categories.items()},
            outputs={name: buffer.sketch.summary() for name, buffer in self._outputs.items()},
            sample=f"{faults[0].reason}: {faults[0].text}" if faults else None,
            faults=faults,
        )
