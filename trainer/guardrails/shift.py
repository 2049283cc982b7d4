"""How far two parts of a column lie from each other, on a scale on which 0 is equal and 1 is nothing in common.

Numbers: the Kolmogorov-Smirnov distance. Categories: the share of rows that would have to change their value. Either is
told only where it is both large and beyond what parts of this size differ by chance.
"""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from trainer.columns import Column

Array = np.ndarray[Any, Any]

#: Parts that lie closer together are not worth a person's time.
WORTH_TELLING = 0.2
#: Chance of a false alarm for one column is about 2 exp(-2 * 3**2), one in thirty million.
BEYOND_CHANCE = 3.0


def shift(values: Array, first: Array, last: Array) -> float:
    """Return the distance of the rows `first` and `last` of a column, or 0.0 where it may be chance.

    Args:
        values: float32 with NaN as missing, or texts.
        first, last: positions of rows.
    """
    before, after = values[first], values[last]
    if values.dtype == object:
        return _told(*_categories(before, after))
    before, after = before[~np.isnan(before)], after[~np.isnan(after)]
    if min(len(before), len(after)) < 10:
        return 0.0
    return _told(distance(before, after), math.sqrt(1 / len(before) + 1 / len(after)))


def distance(before: Array, after: Array) -> float:
    """The Kolmogorov-Smirnov distance of two samples without missing values."""
    both = np.sort(np.concatenate([before, after]))
    left = np.searchsorted(np.sort(before), both, side="right") / len(before)
    right = np.searchsorted(np.sort(after), both, side="right") / len(after)
    return float(np.abs(left - right).max())


def fell_silent(column: Column, first: Array, last: Array) -> str | None:
    """Say how the share of missing values changed from one part of the table to another, or None."""
    if not min(len(first), len(last)):
        return None
    before, after = (float(replace(column, values=column.values[part]).missing.mean()) for part in (first, last))
    if not _told(abs(after - before), math.sqrt(1 / len(first) + 1 / len(last))):
        return None
    return f"{column.name!r} lacks {before:.1%} of its values, then {after:.1%}"


def moved(column: Column, first: Array, last: Array) -> str | None:
    """Say how a column moved from one part of the table to another, or None.

    Of points in time only whether they are there: a moment always moves on.
    """
    gone = fell_silent(column, first, last)
    far = shift(column.values, first, last) if column.cycles is None else 0.0
    if not far or (gone and column.kind != "number"):  # a missing text is a category that comes more often
        return gone
    if column.kind == "number":
        before, after = (float(np.nanmedian(column.values[part])) for part in (first, last))
        how = f"median {before:.4g}, then {after:.4g}"
    else:
        how = _share(column.values[first], column.values[last])
    said = f"moved ({how}; distance {far:.2f} of 1)"
    return f"{gone}, and {said}" if gone else f"{column.name!r} {said}"


def _share(before: Array, after: Array) -> str:
    """The category whose share changed most, in words."""
    codes, names = pd.factorize(np.concatenate([before, after]))
    shares = [
        np.bincount(part, minlength=len(names)) / len(part) for part in (codes[: len(before)], codes[len(before) :])
    ]
    most = int(np.abs(shares[1] - shares[0]).argmax())
    return f"{names[most]!r} {shares[0][most]:.1%}, then {shares[1][most]:.1%}"


def _told(far: float, chance: float) -> float:
    return far if far > WORTH_TELLING and far > BEYOND_CHANCE * chance else 0.0


def _categories(before: Array, after: Array) -> tuple[float, float]:
    codes, names = pd.factorize(np.concatenate([before, after]))
    left = np.bincount(codes[: len(before)], minlength=len(names)) / max(len(before), 1)
    right = np.bincount(codes[len(before) :], minlength=len(names)) / max(len(after), 1)
    chance = math.sqrt(len(names)) / 2 * math.sqrt(1 / max(len(before), 1) + 1 / max(len(after), 1))
    return float(np.abs(left - right).sum() / 2), chance
