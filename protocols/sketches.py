"""Mergeable summaries of columns, small enough to travel: KLL quantiles and frequent items.

Sketches of many windows, devices and sites merge into one without loss of their guarantee, so the registry
compares a fleet with the training data without seeing a row.

Source: Karnin, Lang, Liberty, "Optimal Quantile Approximation in Streams" (KLL); Misra, Gries, "Finding
repeated elements", both as in Apache DataSketches.
"""

import math
from collections import Counter
from typing import Any

import numpy as np
from datasketches import (
    PyObjectSerDe,
    frequent_items_error_type,
    frequent_items_sketch,
    kll_floats_sketch,
)

from protocols.errors import SketchError
from protocols.sketch_bytes import check_frequent_items, check_kll
from protocols.summaries import CategorySummary, NumericSummary

#: 1.9 KB at any number of values; rank error under 1.9 % with 99 % confidence.
KLL_K = 140
#: At most 96 distinct categories are tracked exactly; beyond that, counts have a stated error.
FREQUENT_LG_SIZE = 7
#: A longer category is cut, so that no message can grow without bound.
CATEGORY_LIMIT = 48


class _Utf8(PyObjectSerDe):  # type: ignore[misc]
    """Strings as UTF-8 behind their length; the library's own form is Latin-1 only."""

    def get_size(self, item: str) -> int:
        return 2 + len(item.encode())

    def to_bytes(self, item: str) -> bytes:
        data = item.encode()
        return len(data).to_bytes(2, "little") + data

    def from_bytes(self, data: bytes, offset: int) -> tuple[str, int]:
        end = offset + 2 + int.from_bytes(data[offset : offset + 2], "little")
        if offset + 2 > len(data) or end > len(data):
            raise IndexError("cut short")
        return bytes(data[offset + 2 : end]).decode(), end - offset


class NumericSketch:
    """Quantiles, moments and defects of one numeric column.

    Not thread-safe: one writer, or a lock outside.
    """

    def __init__(self) -> None:
        self._kll = kll_floats_sketch(KLL_K)
        self.count = 0
        self.missing = 0
        self.out_of_range = 0
        self.mean = 0.0
        self._m2 = 0.0

    def update(self, values: np.ndarray[Any, Any], *, low: float | None = None, high: float | None = None) -> None:
        """Add values.

        Args:
            values: float, any shape; NaN counts as missing, infinities as out of range, and neither is sketched.
            low, high: the range seen in training; values outside are counted, and sketched all the same.
        """
        with np.errstate(over="ignore"):  # beyond float32 is infinite, so out of range
            flat = np.asarray(values, dtype=np.float32).ravel()
        finite = flat[np.isfinite(flat)]
        nan = int(np.isnan(flat).sum())
        self.missing += nan
        self.out_of_range += flat.size - nan - finite.size
        if not finite.size:
            return
        if low is not None:
            self.out_of_range += int((finite < np.float32(low)).sum())
        if high is not None:
            self.out_of_range += int((finite > np.float32(high)).sum())
        self._kll.update(finite)
        exact = finite.astype(np.float64)
        self._add_moments(finite.size, float(exact.mean()), float(((exact - exact.mean()) ** 2).sum()))

    def _add_moments(self, count: int, mean: float, m2: float) -> None:
        total = self.count + count
        shift = mean - self.mean
        self._m2 += m2 + shift * shift * self.count * count / total
        self.mean += shift * count / total
        self.count = total

    def merge(self, other: "NumericSketch") -> None:
        """Add what another sketch has seen; `other` is left as it was."""
        self.missing += other.missing
        self.out_of_range += other.out_of_range
        if other.count:
            self._kll.merge(other._kll)
            self._add_moments(other.count, other.mean, other._m2)

    @property
    def deviation(self) -> float:
        """Standard deviation of the values seen, in their unit; 0.0 under two values."""
        return math.sqrt(self._m2 / self.count) if self.count > 1 else 0.0

    def quantiles(self, ranks: "list[float] | np.ndarray[Any, Any]") -> np.ndarray[Any, Any]:
        """Return the values at the ranks (0 to 1), float64; NaN for an empty sketch."""
        if self._kll.is_empty():
            return np.full(len(ranks), np.nan)
        return np.asarray(self._kll.get_quantiles([float(rank) for rank in ranks]), dtype=np.float64)

    def cdf(self, points: "list[float] | np.ndarray[Any, Any]") -> np.ndarray[Any, Any]:
        """Return the share of values at or under each point, float64; NaN for an empty sketch."""
        if self._kll.is_empty():
            return np.full(len(points), np.nan)
        return np.array([self._kll.get_rank(float(point), True) for point in points], dtype=np.float64)

    def summary(self) -> NumericSummary:
        return NumericSummary(self._kll.serialize(), self.count, self.missing, self.out_of_range, self.mean, self._m2)

    @classmethod
    def of(cls, summary: NumericSummary) -> "NumericSketch":
        """Read a summary from the wire.

        Raises:
            SketchError: its bytes are not a KLL sketch, or its counts contradict them.
        """
        check_kll(summary.kll)
        sketch = cls()
        try:
            sketch._kll = kll_floats_sketch.deserialize(summary.kll)
        except Exception as error:  # the binding raises bare RuntimeError, ValueError, IndexError
            raise SketchError(f"not a KLL sketch: {error}") from error
        if sketch._kll.n != summary.count or not math.isfinite(summary.mean) or not summary.m2 >= 0:
            raise SketchError(f"count {summary.count} contradicts the sketch, which holds {sketch._kll.n} values")
        if min(summary.missing, summary.out_of_range) < 0:
            raise SketchError("counts cannot be negative")
        sketch.count, sketch.missing, sketch.out_of_range = summary.count, summary.missing, summary.out_of_range
        sketch.mean, sketch._m2 = summary.mean, summary.m2
        return sketch


class CategorySketch:
    """Frequencies of one text column. Not thread-safe."""

    def __init__(self) -> None:
        self._items = frequent_items_sketch(FREQUENT_LG_SIZE)
        self.count = 0
        self.missing = 0
        self.unseen = 0

    def update(self, values: "list[str] | np.ndarray[Any, Any]", *, known: frozenset[str] | None = None) -> None:
        """Add values; "" counts as missing; a value outside `known` counts as unseen, and is sketched all the same."""
        for value, count in sorted(Counter(map(str, np.asarray(values, dtype=object).ravel())).items()):
            if value == "":
                self.missing += count
                continue
            self.count += count
            self._items.update(value[:CATEGORY_LIMIT], count)
            if known is not None and value not in known:
                self.unseen += count

    def merge(self, other: "CategorySketch") -> None:
        """Add what another sketch has seen; `other` is left as it was."""
        self.count += other.count
        self.missing += other.missing
        self.unseen += other.unseen
        if other.count:
            self._items.merge(other._items)

    def frequencies(self) -> dict[str, int]:
        """Return the tracked categories and how often each was seen, most frequent first."""
        rows = self._items.get_frequent_items(frequent_items_error_type.NO_FALSE_NEGATIVES, 0)
        return {str(row[0]): int(row[1]) for row in sorted(rows, key=lambda row: (-row[1], row[0]))}

    def summary(self) -> CategorySummary:
        return CategorySummary(self._items.serialize(_Utf8()), self.count, self.missing, self.unseen)

    @classmethod
    def of(cls, summary: CategorySummary) -> "CategorySketch":
        """Read a summary from the wire.

        Raises:
            SketchError: its bytes are not a frequent-items sketch, or its counts contradict them.
        """
        check_frequent_items(summary.items)
        sketch = cls()
        try:
            sketch._items = frequent_items_sketch.deserialize(summary.items, _Utf8())
        except Exception as error:  # the binding raises bare RuntimeError, ValueError, IndexError
            raise SketchError(f"not a frequent-items sketch: {error}") from error
        if sketch._items.total_weight != summary.count or min(summary.missing, summary.unseen) < 0:
            raise SketchError(f"count {summary.count} contradicts the sketch")
        sketch.count, sketch.missing, sketch.unseen = summary.count, summary.missing, summary.unseen
        return sketch


Sketch = NumericSketch | CategorySketch
