"""Scored batches to tables of results: the kept columns, `prediction`, a classifier's probabilities, contributions."""

from typing import Any

import numpy as np
import pyarrow as pa

from edge_agent.inference import Predictions
from edge_agent.scoring.faults import OnError
from edge_agent.scoring.kept import as_kept
from edge_agent.scoring.predictor import Scored
from edge_agent.scoring.sources import Notation
from protocols.manifest import Manifest

Array = np.ndarray[Any, Any]
_TYPES = {"float32": pa.float32(), "int64": pa.int64(), "string": pa.string()}


def prediction_fields(manifest: Manifest, *, contributions: bool = False) -> list[pa.Field]:
    """Return the columns that scoring adds, `contributions` last where they are asked for."""
    dtype = next(spec.dtype for spec in manifest.outputs if spec.name == "prediction")
    probabilities = any(spec.name == "probabilities" for spec in manifest.outputs)
    names = [f"probability_{name}" for name in manifest.classes] if probabilities else []
    names += [f"contribution_{spec.name}" for spec in manifest.inputs] if contributions else []
    return [pa.field("prediction", _TYPES[dtype]), *(pa.field(name, pa.float32()) for name in names)]


class ResultMaker:
    """Makes the tables of one run, all of one schema."""

    def __init__(
        self,
        kept: pa.Schema,
        manifest: Manifest,
        notation: Notation,
        on_error: OnError,
        *,
        raw: bool,
        contributions: bool = False,
    ) -> None:
        self.kept, self._notation, self._on_error, self._raw = kept, notation, on_error, raw
        self._fields = prediction_fields(manifest, contributions=contributions)
        self._contributions = contributions
        self.schema = pa.schema([*kept, *self._fields])

    def make(self, scored: Scored) -> pa.Table:
        """Return the rows of a batch that the result has."""
        table = scored.prepared.batch.table.select(self.kept.names)
        added = self._added(scored.predictions)
        rows, predicted = self._places(scored)
        if rows is not None:
            table = table.take(rows)
        if predicted is not None:
            added = [column.take(predicted) for column in added]
        kept = as_kept(table, self.kept, self._notation, raw=self._raw)
        return pa.table([*kept.columns, *added], schema=self.schema)

    def _places(self, scored: Scored) -> tuple[pa.Array | None, pa.Array | None]:
        """Return for each row of the result its place in the table and among the predictions; None: as they are."""
        batch, good, filling = scored.prepared.batch, scored.prepared.good, scored.filling
        whole = self._on_error == "null" and (good is not None or batch.lost)
        if not whole and not filling:
            return (None if good is None else pa.array(good)), None
        places: Array = np.arange(batch.table.num_rows) if good is None else good
        among = np.full(batch.table.num_rows, -1)
        among[places] = np.arange(len(places)) - filling
        if not whole:
            return (None if good is None else pa.array(good)), _or_null(among[places])
        rows, predicted = np.full(batch.rows, -1), np.full(batch.rows, -1)
        stand = batch.numbers - batch.first - 1
        rows[stand], predicted[stand] = np.arange(len(among)), among
        return _or_null(rows), _or_null(predicted)

    def _added(self, predictions: Predictions | None) -> list[pa.Array]:
        if predictions is None:
            return [pa.array([], field.type) for field in self._fields]
        columns = [_column(predictions.values, self._fields[0].type)]
        tables = [predictions.probabilities, predictions.contributions if self._contributions else None]
        for table in tables:
            for column in () if table is None else table.T:
                columns.append(pa.array(np.ascontiguousarray(column), pa.float32()))
        return columns


def _or_null(places: Array) -> pa.Array:
    return pa.array(places, mask=places < 0)


def _column(values: Array, kind: pa.DataType) -> pa.Array:
    if pa.types.is_string(kind):
        return pa.array(values.tolist(), kind)
    return pa.array(values.astype(kind.to_pandas_dtype(), copy=False))
