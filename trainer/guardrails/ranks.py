"""Rank correlation (Spearman): whether one number puts the rows in the same order as another does."""

from typing import Any

import numpy as np

from trainer.guardrails.rail import evenly

#: Rows that are looked at, and the fewest: among a few rows an honest sensor without much noise hits every rank.
MOST_ROWS, LEAST_ROWS = 1_000, 100

Array = np.ndarray[Any, Any]


def same_order(x: Array, y: Array) -> float:
    """Return the rank correlation of two numbers, or of their amounts, whichever is further from 0.

    It is 0.0 where it would prove nothing: among few rows; where `y` moves one way along the table, as all that wears
    or counts does; and of the value of `x` that most rows have, so that a flag's two values are no order.

    Args:
        x, y: float64 without missing values, shape (rows,), in the order of the table.
    """
    rows = evenly(len(x), MOST_ROWS)
    x, y = x[rows], y[rows]
    values, counts = np.unique(x, return_counts=True)
    others = x != values[counts.argmax()]
    signed = x.min() < 0 or y.min() < 0
    found = [(x, y), (np.abs(x), np.abs(y))] if signed else [(x, y)]
    return max((_correlation(one[others], other[others]) for one, other in found), key=abs)


def _correlation(x: Array, y: Array) -> float:
    steps = np.diff(y)
    if len(x) < LEAST_ROWS or (steps >= 0).all() or (steps <= 0).all() or np.ptp(x) == 0:
        return 0.0
    return float(np.corrcoef(_ranks(x), _ranks(y))[0, 1])


def _ranks(values: Array) -> Array:
    """Each value's rank, equal ones with the mean of theirs."""
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[places]
