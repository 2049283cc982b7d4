"""A request's tensors to what one model's graph takes: by name, type and shape, or why they do not fit."""

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from edge_agent.endpoint.batch import Batch
from edge_agent.endpoint.tensors import Binary, InferCall, TensorIn, read_tensor, shape_text
from edge_agent.errors import CallRefusedError
from protocols.manifest import Manifest, TensorSpec

Array = np.ndarray[Any, Any]

#: The datatype that each type of a manifest is described as, and those that are taken for it besides; true is 1.
DATATYPE_OF = {"float32": "FP32", "int64": "INT64", "string": "BYTES"}
_WHOLE = {"BOOL", "INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32"}
_TAKEN = {
    "float32": _WHOLE | {"FP16", "FP32", "FP64", "UINT64"},
    "int64": _WHOLE,
    "string": {"BYTES"},
}
_STORED: dict[str, Any] = {"float32": np.float32, "int64": np.int64, "string": object}


def called_inputs(manifest: Manifest) -> tuple[TensorSpec, ...]:
    """Return what a call gives: the graph's own inputs, of any number of rows; of one where the model has state."""
    specs = manifest.graph_inputs
    fed = len(specs) - len(manifest.state)
    if manifest.feeding is None and not manifest.state:
        return specs
    rows = 1 if manifest.state else None
    return (*(msgspec.structs.replace(spec, shape=(rows, *spec.shape[1:])) for spec in specs[:fed]), *specs[fed:])


class Intake:
    """Reads the requests for one model."""

    def __init__(self, manifest: Manifest) -> None:
        self._inputs = inputs = called_inputs(manifest)
        self._state = {pair.input: pair for pair in manifest.state}
        self._names = {spec.name for spec in inputs}
        self._numbers = [place for place, spec in enumerate(inputs) if spec.dtype == "float32"]
        bounds = [(inputs[place].low, inputs[place].high) for place in self._numbers]
        self._low = np.array([-np.inf if low is None else low for low, _ in bounds], np.float32)
        self._high = np.array([np.inf if high is None else high for _, high in bounds], np.float32)

    def read(self, call: InferCall, binary: memoryview) -> Batch:
        """Return the batch.

        Raises:
            CallRefusedError: an input is missing, not the model's, or not of its type and shape.
        """
        given = self._by_name(call, Binary(binary))
        rows: int | None = None
        columns = []
        with np.errstate(over="ignore"):
            for spec in self._inputs:
                tensor, part = given[spec.name]
                rows = _check_shape(spec, tensor, rows)
                if tensor.datatype not in _TAKEN[spec.dtype]:
                    wanted = DATATYPE_OF[spec.dtype]
                    raise CallRefusedError(400, f"{spec.name}: {tensor.datatype[:20]} was given, and it takes {wanted}")
                columns.append(read_tensor(tensor, part).astype(_STORED[spec.dtype], copy=False))
        missing, outside = self._look_at(columns)
        return Batch(columns, rows or 1, missing, outside)

    def _by_name(self, call: InferCall, binary: Binary) -> dict[str, tuple[TensorIn, memoryview | None]]:
        given: dict[str, tuple[TensorIn, memoryview | None]] = {}
        for tensor in call.inputs:
            if tensor.name not in self._names:
                known = ", ".join(spec.name for spec in self._inputs)
                raise CallRefusedError(400, f"{tensor.name[:100]!r} is no input of the model; it takes {known}")
            if tensor.name in given:
                raise CallRefusedError(400, f"{tensor.name}: the input is given twice")
            if "shared_memory_region" in tensor.parameters:
                raise CallRefusedError(400, f"{tensor.name}: shared memory is not offered; send the values")
            given[tensor.name] = tensor, binary.take(tensor)
        binary.check_empty()
        for spec in self._inputs:
            if spec.name not in given:
                raise CallRefusedError(400, f"{spec.name}: the input is missing{self._state_hint(spec.name)}")
        return given

    def _state_hint(self, name: str) -> str:
        pair = self._state.get(name)
        if pair is None:
            return ""
        return f"; it is state: {pair.output} of the last answer, zeros of shape {list(pair.shape)} before the first"

    def _look_at(self, columns: Sequence[Array]) -> tuple[int, int]:
        """Return how many numbers are missing and outside their range; infinities are refused."""
        numbers = [columns[place] for place in self._numbers]
        if not numbers:
            return 0, 0
        if any(column.ndim != 2 or column.shape[1] != 1 for column in numbers):
            for place in self._numbers:
                self._refuse_infinite(place, columns[place])
            return sum(int(np.count_nonzero(np.isnan(column))) for column in numbers), 0
        table = np.concatenate(numbers, axis=1)
        if np.isinf(table).any():
            for place in self._numbers:
                self._refuse_infinite(place, columns[place])
        return int(np.count_nonzero(np.isnan(table))), int(np.count_nonzero((table < self._low) | (table > self._high)))

    def _refuse_infinite(self, place: int, column: Array) -> None:
        if np.isinf(column).any():
            raise CallRefusedError(400, f"{self._inputs[place].name}: a number is beyond what a float32 can hold")


def _check_shape(spec: TensorSpec, tensor: TensorIn, rows: int | None) -> int | None:
    """Return the number of rows, which all inputs share."""
    given = tensor.shape
    fits = len(given) == len(spec.shape) and all(
        want in (None, have) for want, have in zip(spec.shape, given, strict=True)
    )
    if not fits or 0 in given:
        raise CallRefusedError(400, f"{spec.name}: its shape is {given}, and it takes {shape_text(spec.shape)}")
    if not spec.shape or spec.shape[0] is not None:
        return rows
    if rows is not None and given[0] != rows:
        raise CallRefusedError(400, f"{spec.name}: {given[0]} rows, and the input before it has {rows}")
    return given[0]
