"""The quick way in for the most frequent calls: a model of numeric columns, asked in JSON or in one run of float32."""

from collections.abc import Sequence

import numpy as np

from edge_agent.endpoint.batch import Array, Batch
from edge_agent.endpoint.tensors import InferCall, TableCall
from protocols.manifest import TensorSpec

#: The largest number that a float32 holds.
LARGEST = float(np.finfo(np.float32).max)


class TableIntake:
    """Reads the calls for one model whose inputs are all float32 columns; what does not fit is left to the slow way."""

    def __init__(self, inputs: Sequence[TensorSpec]) -> None:
        self._names = [spec.name for spec in inputs]
        self._bounds = [
            (-LARGEST if spec.low is None else spec.low, LARGEST if spec.high is None else spec.high) for spec in inputs
        ]
        self._low, self._high = (np.array(side, np.float32)[:, None] for side in zip(*self._bounds, strict=True))

    def read(self, call: TableCall) -> Batch | None:
        """Return the batch, or None where the call does not fit: the slow way says why."""
        columns = call.inputs
        if [column.name for column in columns] != self._names:
            by_name = {column.name: column for column in columns}
            if len(columns) != len(self._names) or by_name.keys() != set(self._names):
                return None
            columns = [by_name[name] for name in self._names]
        rows = len(columns[0].data)
        shape = (rows, 1)
        for column in columns:
            if column.shape != shape or len(column.data) != rows:
                return None
        if rows == 1:
            return self._one([column.data[0] for column in columns])
        if not rows:
            return None
        with np.errstate(over="ignore"):
            return self._looked_at(np.array([column.data for column in columns], np.float32))

    def read_binary(self, call: InferCall, binary: memoryview) -> Batch | None:
        """Return the batch of columns that follow the JSON in the model's order, or None as `read`."""
        rows, rest = divmod(len(binary), 4 * len(self._names))
        shape, size = [rows, 1], 4 * rows
        if rest or not rows or [tensor.name for tensor in call.inputs] != self._names:
            return None
        for tensor in call.inputs:
            plain = tensor.datatype == "FP32" and tensor.shape == shape
            if not plain or tensor.parameters != {"binary_data_size": size}:
                return None
        table = np.frombuffer(binary, "<f4").astype(np.float32).reshape(-1, rows)
        if rows > 1:
            return self._looked_at(table)
        return self._one([None if value != value else value for value in table.ravel().tolist()])

    def _one(self, values: list[float | None]) -> Batch | None:
        """One row is looked at number by number: quicker than NumPy is for so few."""
        missing = outside = 0
        for value, (low, high) in zip(values, self._bounds, strict=True):
            if value is None:
                missing += 1
            elif not low <= value <= high:
                if not -LARGEST <= value <= LARGEST:
                    return None
                outside += 1
        return Batch(list(np.array(values, np.float32).reshape(-1, 1, 1)), 1, missing, outside)

    def _looked_at(self, table: Array) -> Batch | None:
        """Return (columns, rows) as a batch."""
        if np.isinf(table).any():
            return None
        missing = int(np.count_nonzero(np.isnan(table)))
        outside = int(np.count_nonzero((table < self._low) | (table > self._high)))
        return Batch(list(table[:, :, None]), table.shape[1], missing, outside)
