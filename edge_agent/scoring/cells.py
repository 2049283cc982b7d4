"""A column of a table to a model's input, and which of its rows cannot be."""

import contextlib
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from edge_agent.scoring.column_types import measured, numerals
from edge_agent.scoring.json_text import plain_texts
from edge_agent.scoring.sources import Notation
from protocols.manifest import TensorSpec

Array = np.ndarray[Any, Any]
_SHOWN_CHARS = 60
_NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"


class Cells(NamedTuple):
    """One input (rows, 1) in the dtype that the model takes, and by row why its value is none for the model."""

    values: Array
    bad: dict[int, str]


def is_readable(kind: pa.DataType, spec: TensorSpec) -> bool:
    """Whether a column of this type may hold what the input takes."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if _is_text(kind) or pa.types.is_null(kind) or pa.types.is_boolean(kind):
        return True
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return True
    return spec.dtype == "string" and (pa.types.is_temporal(kind) or pa.types.is_string_view(kind))


def read_cells(column: pa.ChunkedArray, spec: TensorSpec, notation: Notation) -> Cells:
    """Return the column as the model takes it; in a bad row stands a value that means nothing."""
    bad: dict[int, str] = {}
    if notation == "json":
        bad = _misplaced(column, spec)
        column = plain_texts(pc.if_else(_among(bad, len(column)), pa.scalar(None, pa.string()), column))
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if spec.dtype == "string":
        return Cells(_texts(column), bad)
    wanted = pa.float64() if spec.dtype == "float32" else pa.int64()
    if _is_text(column.type):
        column, unread = _parsed(column, wanted, spec)
        bad |= unread
    if spec.dtype == "float32":
        return _floats(column, spec, bad)
    return _integers(column, spec, bad)


def _misplaced(column: pa.ChunkedArray, spec: TensorSpec) -> dict[int, str]:
    """Return the rows whose JSON an agent would refuse as well: no such field, a text for a number, and the reverse."""
    bad: dict[int, str] = {}
    if column.null_count:
        absent = f"column {spec.name!r} is not in the row (null would mean: not measured)"
        bad = dict.fromkeys(np.flatnonzero(column.is_null().to_numpy()).tolist(), absent)
    wrong = pc.starts_with(column, '"')
    if spec.dtype == "string":
        wrong = pc.invert(pc.or_(wrong, pc.equal(column, "null")))
    for row in np.flatnonzero(wrong.fill_null(False).to_numpy()).tolist():
        bad[row] = _refusal(column[row].as_py(), spec)
    return bad


def _among(rows: Iterable[int], count: int) -> pa.Array:
    flags = np.zeros(count, dtype=bool)
    flags[list(rows)] = True
    return pa.array(flags)


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _texts(column: pa.ChunkedArray) -> Array:
    if _is_text(column.type):
        column = pc.if_else(pc.is_valid(measured(column)), column, pa.scalar(None, column.type))
    texts: Array = np.asarray(column.cast(pa.string()).fill_null("").to_numpy(), dtype=object)
    return texts.reshape(-1, 1)


def _parsed(column: pa.ChunkedArray, wanted: pa.DataType, spec: TensorSpec) -> tuple[pa.ChunkedArray, dict[int, str]]:
    """Return the numbers that texts say, null or NaN where one says none, and where that is."""
    with contextlib.suppress(pa.ArrowInvalid):
        return column.cast(wanted), {}  # nothing but numbers: most columns, in a third of the time
    texts = measured(column)
    with contextlib.suppress(pa.ArrowInvalid):
        return texts.cast(wanted), {}
    texts = numerals(texts)
    with contextlib.suppress(pa.ArrowInvalid):
        return texts.cast(wanted), {}
    doubtful = pc.and_(pc.is_valid(texts), pc.invert(pc.match_substring_regex(texts, _NUMBER)))
    if wanted == pa.int64():
        doubtful = pc.is_valid(texts)
    bad: dict[int, str] = {}
    for row in np.flatnonzero(doubtful.fill_null(False).to_numpy()).tolist():
        text = texts[row].as_py()
        if not _reads(text, wanted):
            bad[row] = _refusal(text, spec)
    keep = np.ones(len(texts), dtype=bool)
    keep[list(bad)] = False
    return pc.if_else(pa.array(keep), texts, pa.scalar(None, texts.type)).cast(wanted), bad


def _reads(text: str, wanted: pa.DataType) -> bool:
    try:
        pa.scalar(text).cast(wanted)
    except pa.ArrowInvalid:
        return False
    return True


def _refusal(value: Any, spec: TensorSpec) -> str:
    wanted = {"float32": "a number", "int64": "a whole number"}.get(spec.dtype, "text")
    return f"column {spec.name!r}: {str(value)[:_SHOWN_CHARS]!r}: expected {wanted}"


def _floats(column: pa.ChunkedArray, spec: TensorSpec, bad: dict[int, str]) -> Cells:
    if not pa.types.is_float32(column.type):
        column = column.cast(pa.float64(), safe=False)
    if column.null_count:
        column = column.fill_null(float("nan"))
    exact: Array = column.to_numpy()
    with np.errstate(over="ignore"):
        values: Array = exact.astype(np.float32, copy=False)
    if np.isinf(values).any():
        for row in np.flatnonzero(np.isinf(values)).tolist():
            bad[row] = f"column {spec.name!r}: {exact[row]:g} is beyond what a float32 holds"
    return Cells(values.reshape(-1, 1), bad)


def _integers(column: pa.ChunkedArray, spec: TensorSpec, bad: dict[int, str]) -> Cells:
    if column.null_count:
        for row in np.flatnonzero(column.is_null().to_numpy()).tolist():
            bad.setdefault(row, f"column {spec.name!r} is missing, and the model takes no missing value there")
    try:
        whole = column.cast(pa.int64())
    except pa.ArrowInvalid:
        whole = _whole(column, spec, bad)
    values: Array = np.asarray(whole.fill_null(0).to_numpy(), dtype=np.int64)
    return Cells(values.reshape(-1, 1), bad)


def _whole(column: pa.ChunkedArray, spec: TensorSpec, bad: dict[int, str]) -> pa.ChunkedArray:
    found: list[int | None] = []
    for row, value in enumerate(column.to_pylist()):
        fits = value is not None and value == value // 1 and -(2**63) <= value < 2**63
        if value is not None and not fits:
            bad.setdefault(row, _refusal(value, spec))
        found.append(int(value) if fits else None)
    return pa.chunked_array([pa.array(found, pa.int64())])
