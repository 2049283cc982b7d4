"""Readings for simulated sensors: rows of a table, or values inside the ranges that a release names."""

import base64
import io
import itertools
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from edge_agent.scoring.formats import first_rows
from protocols.assignment import StreamBinding
from protocols.feeding import IMAGE_INPUT, Image
from protocols.manifest import Manifest, TensorSpec
from protocols.payloads import parse_path

#: Rows of a table that are kept; they come round again.
_TABLE_ROWS = 10_000
#: How far a drifted sensor lies off, in spans of its range.
_SHIFT = 0.4

Row = Mapping[str, Any]


class Readings:
    """One device's sensors.

    Args:
        table: rows by column name; a column that it lacks is made up, as everything is without a table.
        drifted: the numbers lie off by a good part of their range.
    """

    def __init__(self, source: random.Random, table: Sequence[Row] = (), *, drifted: bool = False) -> None:
        self._random, self._table, self._drifted = source, table, drifted
        self._place = source.randrange(len(table)) if table else 0

    def payload(self, binding: StreamBinding, manifest: Manifest) -> bytes:
        """Return one sensor message as this stream reads it."""
        row: Row = {}
        if self._table:
            row = self._table[self._place % len(self._table)]
            self._place += 1
        if isinstance(manifest.feeding, Image):
            return _picture(self._value(manifest.inputs[0], row), binding)
        document: dict[str, Any] = {}
        for spec in manifest.inputs:
            path = parse_path(binding.inputs[spec.name]) if spec.name in binding.inputs else (spec.name,)
            _plant(document, path, self._value(spec, row))
        return msgspec.json.encode(document)

    def _value(self, spec: TensorSpec, row: Row) -> Any:
        if spec.dtype == "string":
            return str(row[spec.name]) if row.get(spec.name) is not None else self._category(spec)
        low, high = spec.low if spec.low is not None else -3.0, spec.high if spec.high is not None else 3.0
        value = _number(row.get(spec.name))
        if value is None:
            value = min(max(self._random.gauss((low + high) / 2, (high - low) / 6), low), high)
        if self._drifted:
            value += _SHIFT * (high - low)
        return round(value) if spec.dtype == "int64" else value

    def _category(self, spec: TensorSpec) -> str:
        return self._random.choice(spec.categories) if spec.categories else ""


def _picture(brightness: float, binding: StreamBinding) -> bytes:
    """Return a message with a small picture of that brightness."""
    from PIL import Image as Pictures

    file = io.BytesIO()
    Pictures.new("L", (16, 16), round(min(max(brightness, 0), 255))).save(file, "PNG")
    if IMAGE_INPUT not in binding.inputs:
        return file.getvalue()
    document: dict[str, Any] = {}
    _plant(document, parse_path(binding.inputs[IMAGE_INPUT]), base64.b64encode(file.getvalue()).decode())
    return msgspec.json.encode(document)


def _number(value: Any) -> float | None:
    """Return a table's value as a number, if it is one: CSV has texts."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def _plant(document: Any, path: Sequence[str | int], value: Any) -> None:
    """Put a value where a path will find it; lists grow as far as the path asks."""
    for step, after in itertools.pairwise(path):
        empty: Any = [] if isinstance(after, int) else {}
        if isinstance(step, int):
            document.extend([None] * (step + 1 - len(document)))
            document[step] = empty if document[step] is None else document[step]
        else:
            document.setdefault(step, empty)
        document = document[step]
    if isinstance(path[-1], int):
        document.extend([None] * (path[-1] + 1 - len(document)))
    document[path[-1]] = value


def read_table(path: Path) -> list[dict[str, Any]]:
    """Return a table's first rows (CSV, Parquet, JSON Lines).

    Raises:
        ScoreError: it cannot be read.
    """
    return first_rows(path, _TABLE_ROWS)
