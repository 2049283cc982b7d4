"""Models that look back: the last rows of a stream as a window, and state that goes from one call into the next.

Both belong to one stream and one release: what takes over, a restart or another binding begins anew.
"""

from collections.abc import Callable, Sequence

import numpy as np

from edge_agent.errors import ModelRunError
from edge_agent.inference import Array, Model, Predictions
from edge_agent.rows import Key, RowReader, Rows
from protocols.assignment import StreamBinding
from protocols.feeding import StatePair, Window
from protocols.manifest import TensorSpec

#: What the tensors of one batch may take together.
BATCH_BYTES = 32 * 1024 * 1024
#: Rows that go one by one through a model, which has state or takes no batch, before their answers are handed over.
ROWS_ONE_BY_ONE = 32


class WindowReader:
    """Reads the rows of one stream and keeps the last of them: each row completes the window that ends with it.

    A message that is no row leaves no gap: the window is of the rows that could be read. Until there are enough, rows
    only fill it (`Rows.warming`).
    """

    quick = True

    def __init__(self, inputs: Sequence[TensorSpec], window: Window, binding: StreamBinding) -> None:
        self._rows = RowReader(inputs, binding)
        self.payload_limit_bytes = self._rows.payload_limit_bytes
        self.needed = window.rows
        self.most_rows = max(1, min(binding.max_batch, BATCH_BYTES // (4 * window.rows * len(inputs))))
        self._columns = len(inputs)
        self.begin_anew()

    def begin_anew(self) -> None:
        """Forget the rows."""
        self._last = np.empty((0, self._columns), dtype=np.float32)
        self.held = 0

    def read(self, payloads: Sequence[bytes], alive: Callable[[], None] = lambda: None) -> Rows:
        """Return one window a row, (rows, window, columns), for the rows that complete one."""
        rows = self._rows.read(payloads)
        if not rows.accepted:
            return rows
        history = np.concatenate([self._last, rows.numbers.T])
        made = make_windows(history, self.needed)
        self.held = min(self.needed, self.held + len(rows.accepted))
        self._last = history[len(history) - min(len(history), self.needed - 1) :].copy()
        filling = len(rows.accepted) - len(made)
        return Rows(
            [made], rows.keys[filling:], rows.accepted[filling:], rows.rejected, rows.numbers[:, filling:],
            rows.accepted[:filling],
        )  # fmt: skip

    def key_of(self, payload: bytes) -> Key:
        return self._rows.key_of(payload)


def make_windows(rows: Array, length: int) -> Array:
    """Return every window of so many consecutive rows, oldest first: (rows, columns) to (windows, length, columns)."""
    if len(rows) < length:
        return np.empty((0, length, rows.shape[1]), dtype=rows.dtype)
    views = np.lib.stride_tricks.sliding_window_view(rows, length, axis=0)
    return np.ascontiguousarray(views.transpose(0, 2, 1))


class StateCarrier:
    """Holds a stream's state between calls, zero before the first. A row that fails leaves it as it was."""

    def __init__(self, pairs: Sequence[StatePair]) -> None:
        self._pairs = pairs
        self.begin_anew()

    def begin_anew(self) -> None:
        """Go back to the state before the first call."""
        self.state: list[Array] = [np.zeros(pair.shape, dtype=np.float32) for pair in self._pairs]

    def run(self, model: Model, columns: Sequence[Array]) -> list[Array]:
        """Run rows one after the other, in their order, and return the manifest's outputs.

        Raises:
            ModelRunError: the model fails on one, or its state is no longer a number; the state is then what it was
                before the first of them.
        """
        state, answers = self.state, []
        given = len(model.manifest.outputs)
        for row in range(len(columns[0])):
            outputs = model.run([*(column[row : row + 1] for column in columns), *state])
            answers.append(outputs[:given])
            state = self._checked(model, outputs[given:])
        self.state = state
        return [np.concatenate(parts) for parts in zip(*answers, strict=True)]

    def predict(self, model: Model, columns: Sequence[Array]) -> Predictions:
        """As `run`, as predictions."""
        return model.predictions(self.run(model, columns))

    def _checked(self, model: Model, state: list[Array]) -> list[Array]:
        for pair, values in zip(self._pairs, state, strict=True):
            if values.shape != pair.shape:
                raise ModelRunError(
                    f"{model.manifest.release}: the state {pair.output!r} has shape {list(values.shape)}, and "
                    f"release.json says {list(pair.shape)}"
                )
            if not np.isfinite(values).all():
                raise ModelRunError(
                    f"{model.manifest.release}: this row makes the state {pair.output!r} NaN or infinite, so it is "
                    "left out"
                )
        return state
