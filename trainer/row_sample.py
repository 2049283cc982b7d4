"""Which rows of a table that is too long are kept: drawn at random in one pass, rare classes with all that they have,
and rows without a target after all others.

Each row draws a number, and those with the smallest stay: the rows of a table are then the same whatever the size of
the batches in which they come, and the same each time.

Source: Vitter, "Random Sampling with a Reservoir" (1985), by random keys.
"""

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

#: Most rows and most cells that a table is read with.
MOST_ROWS, MOST_CELLS = 1_000_000, 50_000_000
#: A wide table keeps so many rows nevertheless.
LEAST_ROWS = 10_000
#: Rows of each class that are kept where there are as many: too few to move the shares of a million rows.
CLASS_ROWS = 200
#: A target with more different values has no classes.
MOST_CLASSES = 1_000
#: What a frame's `attrs` say of the table that it was drawn from: how many rows that had.
ROWS_IN_FILE = "genba_rows_in_file"

#: Of the draw: not one that somebody may have made a table with, whose columns would follow the draw.
_SEED = 0x67656E6261
#: Above every key: those of rows with a target are under 1, the others under 2.
_NO_BAR = 2.0

Rows = np.ndarray[Any, Any]


def most_rows(columns: int, wanted: int | None = None) -> int:
    """Return how many rows of a table with so many columns are kept: no more than `wanted`, if that is given."""
    return min(wanted or MOST_ROWS, MOST_ROWS, max(LEAST_ROWS, MOST_CELLS // max(columns, 1)))


class Draw:
    """The draw of `limit` rows, and of up to `CLASS_ROWS` of each class beside them."""

    def __init__(self, limit: int, seed: int = _SEED) -> None:
        self.limit = limit
        self._random = np.random.default_rng(seed)
        self._bar = _NO_BAR
        self._class_bars = np.ones(0)
        self._keys = np.zeros(0)
        self._codes = np.zeros(0, dtype=np.int64)
        #: Rows offered so far.
        self.offered = 0

    @property
    def full(self) -> bool:
        """Whether twice as many rows are held as will be kept: time to `thin`."""
        return len(self._keys) > 2 * self.limit

    def take(self, rows: int, codes: Rows | None = None, labelled: Rows | None = None) -> Rows:
        """Return which rows of the next batch to hold for now, as positions in it.

        Args:
            codes: each row's class as a number, -1 for none, shape (rows,); None where there are no classes.
            labelled: which rows have a target, shape (rows,); None: all.
        """
        keys = self._random.random(rows)
        if labelled is not None:
            keys += ~labelled
        if codes is None:
            self._codes[:] = -1  # what seemed to be classes were not
            codes = np.full(rows, -1, dtype=np.int64)
        kept = np.flatnonzero(keys < self._bars(codes))
        self._keys = np.concatenate([self._keys, keys[kept]])
        self._codes = np.concatenate([self._codes, codes[kept]])
        self.offered += rows
        return kept

    def thin(self) -> Rows | None:
        """Return which of the rows held stay, as positions among them; None where all do."""
        if len(self._keys) <= self.limit:
            return None
        self._bar = float(np.partition(self._keys, self.limit)[self.limit])
        self._class_bars = np.zeros(int(self._codes.max(initial=-1)) + 1)
        for code in range(len(self._class_bars)):
            keys = self._keys[self._codes == code]
            few = len(keys) <= CLASS_ROWS
            self._class_bars[code] = _NO_BAR if few else np.partition(keys, CLASS_ROWS)[CLASS_ROWS]
        stay = np.flatnonzero(self._keys < self._bars(self._codes))
        self._keys, self._codes = self._keys[stay], self._codes[stay]
        return stay

    def _bars(self, codes: Rows) -> Rows:
        """Each row's key must be under this; a class that is new is kept whole, for now."""
        bars = np.full(len(codes), self._bar)
        known = (codes >= 0) & (codes < len(self._class_bars))
        bars[known] = np.maximum(self._bar, self._class_bars[codes[known]])
        bars[codes >= len(self._class_bars)] = _NO_BAR
        return bars


class Classes:
    """Numbers for the values of a target, the same in all batches; none once there are too many."""

    def __init__(self) -> None:
        self._known: dict[Any, int] | None = {}

    def codes(self, values: pa.Array) -> Rows | None:
        if self._known is None:
            return None
        encoded = values if pa.types.is_dictionary(values.type) else pc.dictionary_encode(values)
        own = encoded.dictionary.to_pylist()
        if len(own) > MOST_CLASSES or len(self._known) > MOST_CLASSES:
            self._known = None
            return None
        numbers = [self._known.setdefault(value, len(self._known)) for value in own]
        codes = np.array([*numbers, -1], dtype=np.int64)
        return np.asarray(codes[pc.fill_null(encoded.indices, len(own)).to_numpy(zero_copy_only=False)])


def have_value(values: pa.Array) -> Rows:
    """Which values are there: not null, not an empty text."""
    there = values.is_valid()
    if pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
        there = pc.and_(there, pc.greater(pc.fill_null(pc.utf8_length(values), 0), 0))
    return np.asarray(there.to_numpy(zero_copy_only=False))


def shortened(table: pd.DataFrame, target: str | None, rows: int | None = None) -> pd.DataFrame:
    """Return the table, or the rows of it that are kept where it is too long, in their order.

    Args:
        rows: how many, if fewer than `most_rows` are wanted.
    """
    kept = kept_rows(table, target, rows)
    if kept is None:
        return table
    short: pd.DataFrame = table.iloc[kept].reset_index(drop=True)
    short.attrs[ROWS_IN_FILE] = len(table)
    return short


def kept_rows(table: pd.DataFrame, target: str | None, rows: int | None = None) -> Rows | None:
    """Return the positions of the rows that `shortened` keeps; None where it keeps all, or has drawn them already."""
    draw = Draw(most_rows(table.shape[1], rows))
    if len(table) <= draw.limit or ROWS_IN_FILE in table.attrs:
        return None
    codes = labelled = None
    if target in table.columns:
        numbers, values = pd.factorize(table[target])
        labelled = numbers >= 0
        codes = numbers.astype(np.int64) if len(values) <= MOST_CLASSES else None
    kept = draw.take(len(table), codes, labelled)
    stay = draw.thin()
    return kept if stay is None else kept[stay]
