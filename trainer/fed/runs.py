"""Running a graph that takes windows, images or state: the maker's as it was written, the release's as devices do."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort

from protocols.feeding import StatePair
from trainer.errors import ImportRefusedError
from trainer.fed.inputs import FedInputs
from trainer.graphs import PROVIDER

Array = np.ndarray[Any, Any]

#: Rows of a batch, where a graph takes one.
BATCH = 16


@dataclass(frozen=True, slots=True)
class FedCase:
    """Rows on which a proof is made, each array's first axis; with state, they follow one another."""

    name: str
    arrays: tuple[Array, ...]

    @property
    def rows(self) -> int:
        return len(self.arrays[0])

    def feed(self, names: Sequence[str]) -> dict[str, Array]:
        """As `FedSession` takes them."""
        return dict(zip(names, self.arrays, strict=True))


class FedSession:
    """A session that is fed a case, by rows or batches, its state carried from row to row.

    Args:
        batch: rows at once; 1 where it has state.
        shaped: how what is fed becomes what the graph takes.
    """

    def __init__(
        self,
        session: Any,
        names: Sequence[str],
        state: Sequence[StatePair],
        batch: int,
        shaped: Callable[[Array], Array] = lambda array: array,
    ) -> None:
        self._session, self._names, self._state = session, list(names), state
        self._batch, self._shaped = batch, shaped
        given = {pair.output for pair in state}
        self._outputs = [entry.name for entry in session.get_outputs() if entry.name not in given]

    def run(self, outputs: object, feed: dict[str, Array]) -> list[Array]:
        """Return the graph's outputs, less its state, for all rows."""
        arrays = [feed[name] for name in self._names]
        state = {pair.input: np.zeros(pair.shape, dtype=np.float32) for pair in self._state}
        asked = [*self._outputs, *(pair.output for pair in self._state)]
        answers = []
        for at in range(0, len(arrays[0]), self._batch):
            part = {
                name: self._shaped(array[at : at + self._batch])
                for name, array in zip(self._names, arrays, strict=True)
            }
            found = self._session.run(asked, {**part, **state})
            state = {pair.input: value for pair, value in zip(self._state, found[len(self._outputs) :], strict=True)}
            rows = len(arrays[0][at : at + self._batch])
            answers.append([self._by_row(value, rows) for value in found[: len(self._outputs)]])
        return [np.concatenate(parts) for parts in zip(*answers, strict=True)]

    @staticmethod
    def _by_row(value: Any, rows: int) -> Array:
        """Return an output with the rows first: a scalar for one row, and (1, 1, n), are outputs of one row."""
        array = np.asarray(value)
        if array.ndim and len(array) == rows:
            return array
        return array.reshape(rows, -1) if array.size % rows == 0 and array.size else array.reshape(1, -1)


def maker_session(model: onnx.ModelProto, inputs: FedInputs, name: str) -> FedSession:
    """Open the graph as its maker wrote it, without the optimizations that a device's session makes, row by row.

    Raises:
        ImportRefusedError: ONNX Runtime cannot load it.
    """
    plain = ort.SessionOptions()
    plain.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    plain.log_severity_level = 3
    try:
        session = ort.InferenceSession(model.SerializeToString(), plain, providers=[PROVIDER])
    except RuntimeError as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ImportRefusedError(f"ONNX Runtime cannot load {name}: {reason}") from error
    return FedSession(session, inputs.names, inputs.state, 1, inputs.as_made)
