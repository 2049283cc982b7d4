"""Values of messages to the model's columns, all columns of a type at once: no Python loop for each feature."""

import operator
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from protocols.manifest import Dtype, TensorSpec

Array = np.ndarray[Any, Any]
_NO_TEXTS, _NO_COUNTS = np.empty((0, 0), dtype=object), np.empty((0, 0), dtype=np.int64)
Pick = Callable[[Sequence[Any]], tuple[Any, ...]]


class ColumnsByType(NamedTuple):
    """(columns, rows) of each type, in the order of the inputs. Missing is NaN among numbers and "" among texts."""

    numbers: Array
    texts: Array
    counts: Array


class ColumnMaker:
    """Makes the columns of one model's inputs."""

    def __init__(self, inputs: Sequence[TensorSpec]) -> None:
        places = {dtype: _places(inputs, dtype) for dtype in ("float32", "string", "int64")}
        self._numbers, self._texts, self._counts = (_picker(found) for found in places.values())
        self.number_names = [inputs[place].name for place in places["float32"]]
        grouped = [place for found in places.values() for place in found]
        self._order = _picker([grouped.index(place) for place in range(len(inputs))])

    def make(self, values: Sequence[Sequence[Any]]) -> ColumnsByType:
        """Return the columns of checked values.

        Args:
            values: one sequence a column, its values in the order of the rows; None is missing.

        Returns:
            float32, object and int64; a number that float32 does not hold is an infinity.
        """
        rows = len(values[0])
        with np.errstate(over="ignore"):
            numbers = np.array(self._numbers(values), dtype=np.float64).astype(np.float32)
        if len(numbers) == len(values):  # the most frequent kind of model, and the quickest
            return ColumnsByType(numbers, _NO_TEXTS, _NO_COUNTS)
        texts = np.array(self._texts(values), dtype=object)
        texts[texts == None] = ""  # noqa: E711 - compared value by value
        counts = np.array(self._counts(values), dtype=np.int64)
        return ColumnsByType(*(part.reshape(-1, rows) for part in (numbers, texts, counts)))

    def picked(self, made: ColumnsByType, rows: Array) -> ColumnsByType:
        """Return the rows where the flags are true."""
        return ColumnsByType(*(np.ascontiguousarray(part[:, rows]) if part.size else part for part in made))

    def ordered(self, made: ColumnsByType) -> list[Array]:
        """Return one (rows, 1) view a column, in the order of the inputs."""
        if not made.texts.size and not made.counts.size:
            return list(made.numbers[:, :, None])
        grouped: list[Array] = [*made.numbers[:, :, None], *made.texts[:, :, None], *made.counts[:, :, None]]
        return list(self._order(grouped))


def _places(inputs: Sequence[TensorSpec], dtype: Dtype | str) -> list[int]:
    return [place for place, spec in enumerate(inputs) if spec.dtype == dtype]


def _picker(places: Sequence[int]) -> Pick:
    """Return what takes the items at these places, as a tuple whatever their number."""
    if len(places) > 1:
        return operator.itemgetter(*places)
    return lambda items: tuple(items[place] for place in places)
