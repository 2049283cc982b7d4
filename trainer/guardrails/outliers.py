"""Outliers: values far from all others, and numbers that stand for "no value" (-999, 9999)."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from trainer.columns import Column
from trainer.guardrails.rail import Guardrail, evenly, found, quoted

#: A value is far where it lies so many times the column's 1-99 % spread beyond it.
FAR = 5.0
#: More of them are a part of the distribution, not outliers.
MOST = 0.005
#: A number that repeats so often at the very end of the range, with a gap, is likely to stand for something else.
REPEATS, GAP = 5, 1.0
#: Rows that are looked at.
ROWS = 100_000


def outlier_rail(features: Sequence[Column]) -> Guardrail:
    seen, names = [], []
    for column in features:
        if column.kind != "number":
            continue
        values = column.values[evenly(len(column.values), ROWS)]
        values = values[~np.isnan(values)].astype(np.float64)
        why = _placeholder(values) or _far(values)
        if why:
            seen.append(f"{column.name!r} {why}")
            names.append(column.name)
    if not seen:
        return Guardrail("outliers", "passed")
    done = "kept them as they stand; trees bear them, linear models do not"
    return found(
        "outliers", "alerted", seen, done, f"empty these cells in the data, or --drop {quoted(names[0])}", names
    )


def _placeholder(values: np.ndarray[Any, Any]) -> str | None:
    """A repeated number at one end of the range, with nothing between it and the rest."""
    unique, counts = np.unique(values, return_counts=True)
    if len(unique) < 10:
        return None
    for end, next_to, rest in ((0, 1, unique[1:]), (-1, -2, unique[:-1])):
        spread = float(np.ptp(rest))
        gap = abs(unique[next_to] - unique[end])
        if counts[end] >= REPEATS and gap > GAP * spread > 0:
            return f"is {unique[end]:g} in {counts[end]} rows, far from all other values: does it stand for no value?"
    return None


def _far(values: np.ndarray[Any, Any]) -> str | None:
    if len(values) < 20:
        return None
    low, high = np.percentile(values, [1, 99])
    reach = FAR * (high - low)
    far = values[(values > high + reach) | (values < low - reach)]
    if not reach or not len(far) or len(far) > MOST * len(values):
        return None
    worst = far[np.abs(far - (low + high) / 2).argmax()]
    return f"has {len(far)} values far from the rest, such as {worst:g} (98% lie from {low:g} to {high:g})"
