"""Rows on which an export must prove itself: held out, missing, unseen, at the edges."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from trainer.columns import Column, Kind, internal_name

#: A text that no table has.
UNSEEN = "\u00a7never seen\u00a7"
#: Rows of the held-out case at most, and rows that each other case starts from.
HELD_OUT_ROWS, BASE_ROWS = 2000, 24
#: Columns that are varied one by one at most; all are varied together besides.
VARIED_COLUMNS = 64


@dataclass(frozen=True, slots=True)
class Case:
    """Rows by raw column, in the order of the inputs: float32 or str objects, each of shape (rows,)."""

    name: str
    columns: tuple[np.ndarray[Any, Any], ...]

    @property
    def rows(self) -> int:
        return len(self.columns[0])

    def frame(self) -> pd.DataFrame:
        """As the pipeline takes them."""
        return pd.DataFrame(
            {internal_name(index): pd.Series(values, dtype=values.dtype) for index, values in enumerate(self.columns)}
        )

    def feed(self, names: Sequence[str]) -> dict[str, np.ndarray[Any, Any]]:
        """As the graph takes them."""
        return {name: values.reshape(-1, 1) for name, values in zip(names, self.columns, strict=True)}

    def take(self, rows: int) -> "Case":
        """The same case with at most so many rows, spread evenly over it."""
        picked = np.unique(np.linspace(0, self.rows - 1, min(rows, self.rows)).astype(int))
        return Case(self.name, tuple(values[picked] for values in self.columns))


def make_cases(features: Sequence[Column], held_out: np.ndarray[Any, Any]) -> tuple[Case, ...]:
    """Return the cases `held-out`, `missing`, `unseen` and `edges` for a table.

    Args:
        features: every row; the edges are theirs.
        held_out: rows that the model has not learned from, by position.
    """
    real = Case("held-out", tuple(column.values[held_out[:HELD_OUT_ROWS]] for column in features))
    kinds: list[Kind] = [column.kind for column in features]
    base = real.take(BASE_ROWS)
    missing = [np.float32(np.nan) if kind == "number" else "" for kind in kinds]
    ranges = [_range(column) for column in features]
    unseen = [UNSEEN if span is None else np.float32(span[1] + (span[1] - span[0]) + 1) for span in ranges]
    return (
        real,
        _varied("missing", base, [missing]),
        _varied("unseen", base, [unseen]),
        _varied("edges", base.take(4), _edge_values(ranges, base)),
    )


def _range(column: Column) -> tuple[float, float] | None:
    if column.kind != "number":
        return None
    present = column.values[~np.isnan(column.values)]
    return (float(present.min()), float(present.max())) if len(present) else (0.0, 0.0)


def _edge_values(ranges: Sequence[tuple[float, float] | None], base: Case) -> list[list[Any]]:
    """For each edge one value a column: lowest, highest, and their nearest neighbours outside."""
    edges: list[list[Any]] = []
    for side, away in ((0, -np.inf), (1, np.inf)):
        exact: list[Any] = []
        beyond: list[Any] = []
        for span, values in zip(ranges, base.columns, strict=True):
            value = values[0] if span is None else np.float32(span[side])
            exact.append(value)
            beyond.append(value if span is None else np.nextafter(value, np.float32(away)))
        edges += [exact, beyond]
    return edges


def _varied(name: str, base: Case, replacements: Sequence[Sequence[Any]]) -> Case:
    """Each replacement put into each column alone, then into all of them, in rows of `base` by turns."""
    width = len(base.columns)
    rows: list[list[Any]] = []
    for values in replacements:
        for change in [*([index] for index in range(min(width, VARIED_COLUMNS))), range(width)]:
            rows.append([column[len(rows) % base.rows] for column in base.columns])
            for index in change:
                rows[-1][index] = values[index]
    return Case(
        name,
        tuple(np.array([row[index] for row in rows], dtype=base.columns[index].dtype) for index in range(width)),
    )
