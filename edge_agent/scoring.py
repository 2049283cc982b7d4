"""`genba score`: a file through a release's model, in batches, with no registry and no broker."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from edge_agent.column_types import column_types, measured, typed
from edge_agent.errors import ScoreError
from edge_agent.inference import Array, Model, Predictions
from edge_agent.releases import read_release
from edge_agent.score_files import is_csv, open_reader, open_writer
from edge_agent.session_plan import Provider, SessionPlan
from protocols.manifest import Manifest, TensorSpec


def score_file(release: Path, source: Path, out: Path, *, keep: Sequence[str] | None = None) -> int:
    """Write the kept columns of `source`, `prediction`, and for a classifier `probability_<class>`, to `out`.

    Args:
        keep: the columns to copy; None for all.

    Returns:
        How many rows were scored.

    Raises:
        ReleaseDamagedError, ManifestError: the release folder is not what was signed.
        ScoreError: the file cannot be scored; the text names the column and the row. `out` is then left as it was.
    """
    if not release.is_dir():
        raise ScoreError(f"{release} is not a release folder; give the folder that holds release.json and model.onnx")
    if source.resolve() == out.resolve():
        raise ScoreError(f"--out {out} is the input; give another file")
    manifest = read_release(release)
    model = Model(release, manifest, SessionPlan(providers=tuple(_providers(manifest))))
    rows = 0
    with open_reader(source) as reader, open_writer(out) as writer:
        kept = _kept(source, reader.names, manifest, keep)
        types = _types(source, kept, manifest) if is_csv(source) and not is_csv(out) else {}
        for table in reader.batches:
            columns = [_column(source, table, spec, rows) for spec in manifest.inputs]
            predictions = model.predict(columns) if table.num_rows else _none(manifest)
            writer.write(_result(typed(table.select(kept), types), manifest, predictions))
            rows += table.num_rows
            if sys.stderr.isatty():
                print(f"\r{rows} rows", end="", file=sys.stderr)
    if sys.stderr.isatty():
        print(file=sys.stderr)
    return rows


def _named(manifest: Manifest) -> str:
    return str(manifest.release) if manifest.version else f"the candidate {manifest.model!r}"


def _providers(manifest: Manifest) -> list[Provider]:
    import onnxruntime

    available = onnxruntime.get_available_providers()
    proven: list[Provider] = [name for name in available if name in manifest.providers]
    if not proven:
        raise ScoreError(
            f"{_named(manifest)} is proven on {', '.join(manifest.providers)}, and the ONNX Runtime here has "
            f"{', '.join(available)}; install a build that has one of them"
        )
    return proven


def _kept(source: Path, names: Sequence[str], manifest: Manifest, keep: Sequence[str] | None) -> list[str]:
    absent = [spec.name for spec in manifest.inputs if spec.name not in names]
    if absent:
        raise ScoreError(
            f"{source} lacks the column{'s' if len(absent) > 1 else ''} {', '.join(map(repr, absent))} that "
            f"{_named(manifest)} needs; it has {', '.join(map(repr, names))}"
        )
    unknown = [name for name in keep or () if name not in names]
    if unknown:
        raise ScoreError(f"--keep {unknown[0]!r}: {source} has no such column; it has {', '.join(map(repr, names))}")
    made = {"prediction", *(f"probability_{name}" for name in manifest.classes)}
    kept = list(keep if keep is not None else names)
    clash = [name for name in kept if name in made]
    if clash:
        raise ScoreError(f"{source} has a column {clash[0]!r} already; name the columns to copy with --keep")
    return kept


def _types(source: Path, kept: Sequence[str], manifest: Manifest) -> dict[str, pa.DataType]:
    """Read the file once before, because its last row may make a text of a column."""
    with open_reader(source) as reader:
        return column_types(reader.batches, kept, manifest.inputs)


def _column(source: Path, table: pa.Table, spec: TensorSpec, first_row: int) -> Array:
    """Return one input (rows, 1) in the dtype that the model takes."""
    column = table.column(spec.name)
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    is_text = pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
    if is_text:
        found = measured(column)
        column = found if spec.dtype != "string" else pc.if_else(pc.is_valid(found), column, None)
    if spec.dtype == "string":
        texts = np.array(column.cast(pa.string()).fill_null("").to_pylist(), dtype=object)
        return texts.reshape(-1, 1)
    try:
        numbers = column.cast(pa.float64() if spec.dtype == "float32" else pa.int64())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise ScoreError(f"{source}, {_culprit(column, spec, first_row)}: expected a number") from error
    return _numbers(source, numbers, spec, first_row)


def _numbers(source: Path, numbers: pa.ChunkedArray, spec: TensorSpec, first_row: int) -> Array:
    if spec.dtype == "int64":
        if numbers.null_count:
            raise ScoreError(f"{source}: column {spec.name!r} has missing values, and the model takes none there")
        return np.asarray(numbers.to_numpy(), dtype=np.int64).reshape(-1, 1)
    exact = np.array(numbers.fill_null(float("nan")).to_numpy(), dtype=np.float64)
    with np.errstate(over="ignore"):
        column = exact.astype(np.float32).reshape(-1, 1)
    beyond = np.flatnonzero(np.isinf(column[:, 0]))
    if beyond.size:
        row = int(beyond[0])
        raise ScoreError(
            f"{source}, row {first_row + row + 1}, column {spec.name!r}: {exact[row]:g} is beyond what a float32 holds"
        )
    return column


def _culprit(column: pa.ChunkedArray, spec: TensorSpec, first_row: int) -> str:
    """Return where the value lies that is no number, and what it is."""
    for row, value in enumerate(column.to_pylist()):
        try:
            if value is not None:
                float(value)
        except (TypeError, ValueError):
            return f"row {first_row + row + 1}, column {spec.name!r}: {str(value)[:60]!r}"
    return f"column {spec.name!r} of type {column.type}"


def _none(manifest: Manifest) -> Predictions:
    values: Array = np.empty(0, dtype=np.float32 if not manifest.classes else object)
    return Predictions(values, np.empty((0, len(manifest.classes)), dtype=np.float32) if manifest.classes else None)


def _result(kept: pa.Table, manifest: Manifest, predictions: Predictions) -> pa.Table:
    values: Any = predictions.values
    table = kept.append_column("prediction", pa.array(values.tolist() if values.dtype == object else values))
    if predictions.probabilities is not None:
        for index, name in enumerate(manifest.classes):
            shares = np.ascontiguousarray(predictions.probabilities[:, index])
            table = table.append_column(f"probability_{name}", pa.array(shares))
    return table
