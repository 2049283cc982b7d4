"""Where the model is worst: parts of the held-out rows, cut by one or two of its important inputs.

The search is small and deterministic: each number in quarters, each category by its common values, every pair of two.
A part counts from a least number of rows, and only if its error is worse than chance would make the worst of all parts
that were looked at: the same errors are dealt to the rows at random, again and again, and a part must beat the worst
part of nearly every deal. That holds for heavy tails, and however many parts there are and however they overlap.

Source: Westfall, Young, "Resampling-Based Multiple Testing" (the maximum statistic).
"""

from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np

from protocols.card import Segment
from protocols.manifest import Task
from trainer.card.moments import moments
from trainer.columns import Column
from trainer.guardrails.rail import evenly
from trainer.metrics import normal_probabilities

#: Segments that are told, and the rows and share of the rows that each has at least.
TOLD, MIN_ROWS, MIN_SHARE = 3, 20, 0.05
#: Values of a category that are looked at.
COMMON = 6
#: How often chance may name a part where none is worse, the deals by which that is known, and the rows that are dealt.
LEVEL, DEALS, DEALT_ROWS = 0.05, 199, 2_000


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
    rows = evenly(len(held_out), DEALT_ROWS)
    held_out, losses = held_out[rows], _losses(truth[rows], output[rows], task)
    needed = max(MIN_ROWS, int(MIN_SHARE * len(losses)))
    single = [part for index, column in enumerate(columns) for part in _parts(column, held_out, index)]
    pairs = (
        Part(f"{one.words} and {two.words}", one.rows & two.rows, -1)
        for one, two in combinations(single, 2)
        if one.feature != two.feature
    )
    parts = [part for part in (*single, *pairs) if needed <= part.rows.sum() < len(losses)]
    if not parts:
        return ()
    chances = _chances(np.stack([part.rows for part in parts]), losses)
    bad = [
        (losses[part.rows].mean(), part, chance) for part, chance in zip(parts, chances, strict=True) if chance <= LEVEL
    ]
    told: list[tuple[Part, float]] = []
    for _, part, chance in sorted(bad, key=lambda one: (-one[0], len(one[1].words), one[1].words)):
        if len(told) < TOLD and all(_overlap(part.rows, other.rows) < 0.5 for other, _ in told):
            told.append((part, chance))
    return tuple(
        Segment(part.words, int(part.rows.sum()), _metric(losses[part.rows], task), float(chance))
        for part, chance in told
    )


def _chances(members: np.ndarray[Any, Any], losses: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """How often the worst part of a random deal is as bad as each part is, shape (parts,).

    Args:
        members: which rows each part has, shape (parts, rows).
    """
    random = np.random.default_rng(0)
    centred = (losses - losses.mean()).astype(np.float32)
    dealt = np.stack([centred, *(random.permutation(centred) for _ in range(DEALS))], axis=1)
    # Of parts of a size the mean loss counts; between sizes its standard error makes them comparable.
    worse = (members.astype(np.float32) @ dealt) / np.sqrt(members.sum(axis=1, dtype=np.float32))[:, None]
    worst = worse[:, 1:].max(axis=0)
    return np.asarray((1 + (worst[None] >= worse[:, :1]).sum(axis=1)) / (1 + DEALS))


def _losses(truth: np.ndarray[Any, Any], output: np.ndarray[Any, Any], task: Task) -> np.ndarray[Any, Any]:
    """Squared error or log loss of each row."""
    if task == "regression":
        return np.asarray((truth - output.astype(np.float64)) ** 2)
    return np.asarray(-np.log(normal_probabilities(output)[np.arange(len(truth)), truth]))


def _metric(losses: np.ndarray[Any, Any], task: Task) -> float:
    mean = float(losses.mean())
    return mean**0.5 if task == "regression" else mean


def _overlap(one: np.ndarray[Any, Any], two: np.ndarray[Any, Any]) -> float:
    return float((one & two).sum() / max(min(one.sum(), two.sum()), 1))


def _parts(column: Column, held_out: np.ndarray[Any, Any], feature: int) -> Iterator[Part]:
    values, missing = column.values[held_out], column.missing[held_out]
    if missing.any():
        yield Part(f"{column.name} is missing", missing, feature)
    if column.cycles is not None:
        for one in moments(column.cycles, values):
            yield Part(f"{column.name} {one.words}", one.rows, feature)
        return
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
