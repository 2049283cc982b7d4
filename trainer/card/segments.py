"""Where the model is worst: parts of the held-out rows, cut by one or two of its important inputs.

The search is small and deterministic: each number in quarters, each category by its common values, every pair of two.
A part counts from a least number of rows, and only if its error is worse than that of all rows by more than chance.
"""

from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np

from protocols.card import Segment
from protocols.manifest import Task
from trainer.columns import Column
from trainer.metrics import normal_probabilities

#: Segments that are told, and the rows and share of the rows that each has at least.
TOLD, MIN_ROWS, MIN_SHARE = 3, 20, 0.05
#: Values of a category that are looked at.
COMMON = 6
#: Standard errors by which a segment must be worse: some hundreds of segments are looked at.
BEYOND_CHANCE = 3.0


class Part(NamedTuple):
    """Rows of one input: in words, which, and which input."""

    words: str
    rows: np.ndarray[Any, Any]
    feature: int


def worst_segments(
    columns: Sequence[Column],
    held_out: np.ndarray[Any, Any],
    truth: np.ndarray[Any, Any],
    output: np.ndarray[Any, Any],
    task: Task,
) -> tuple[Segment, ...]:
    """Return the segments with the largest error, worst first, none much like one before it.

    Args:
        columns: to cut by, the most important first.
        held_out: rows, by position; truth and output are theirs, classes as places.
    """
    losses = _losses(truth, output, task)
    needed = max(MIN_ROWS, int(MIN_SHARE * len(losses)))
    parts = [part for index, column in enumerate(columns) for part in _parts(column, held_out, index)]
    pairs = (
        Part(f"{one.words} and {two.words}", one.rows & two.rows, -1)
        for one, two in combinations(parts, 2)
        if one.feature != two.feature
    )
    bad = [(losses[part.rows].mean(), part) for part in [*parts, *pairs] if _worse(losses, part.rows, needed)]
    told: list[Part] = []
    for _, part in sorted(bad, key=lambda pair: (-pair[0], len(pair[1].words), pair[1].words)):
        if len(told) < TOLD and all(_overlap(part.rows, other.rows) < 0.5 for other in told):
            told.append(part)
    return tuple(Segment(part.words, int(part.rows.sum()), _metric(losses[part.rows], task)) for part in told)


def _losses(truth: np.ndarray[Any, Any], output: np.ndarray[Any, Any], task: Task) -> np.ndarray[Any, Any]:
    """Squared error or log loss of each row."""
    if task == "regression":
        return np.asarray((truth - output.astype(np.float64)) ** 2)
    return np.asarray(-np.log(normal_probabilities(output)[np.arange(len(truth)), truth]))


def _metric(losses: np.ndarray[Any, Any], task: Task) -> float:
    mean = float(losses.mean())
    return mean**0.5 if task == "regression" else mean


def _worse(losses: np.ndarray[Any, Any], rows: np.ndarray[Any, Any], needed: int) -> bool:
    inside = losses[rows]
    if not needed <= len(inside) < len(losses):
        return False
    error = float(inside.std()) / len(inside) ** 0.5
    return bool(inside.mean() - losses.mean() > BEYOND_CHANCE * error)


def _overlap(one: np.ndarray[Any, Any], two: np.ndarray[Any, Any]) -> float:
    return float((one & two).sum() / max(min(one.sum(), two.sum()), 1))


def _parts(column: Column, held_out: np.ndarray[Any, Any], feature: int) -> Iterator[Part]:
    values, missing = column.values[held_out], column.missing[held_out]
    if missing.any():
        yield Part(f"{column.name} is missing", missing, feature)
    if column.kind != "number":
        found, counts = np.unique(values[~missing], return_counts=True)
        for value in found[np.lexsort((found, -counts))[:COMMON]]:
            yield Part(f"{column.name} is {value!r}", values == value, feature)
        return
    if missing.all():
        return
    cuts = np.unique(np.percentile(values[~missing], [25, 50, 75]))
    for index in range(len(cuts) + 1):
        low, high = cuts[index - 1] if index else None, cuts[index] if index < len(cuts) else None
        inside = ~missing
        if low is not None:
            inside = inside & (values > low)
        if high is not None:
            inside = inside & (values <= high)
        yield Part(_range(column.name, low, high), inside, feature)


def _range(name: str, low: float | None, high: float | None) -> str:
    if low is None:
        return f"{name} up to {high:.4g}"
    return f"{name} above {low:.4g}" if high is None else f"{name} above {low:.4g} up to {high:.4g}"
