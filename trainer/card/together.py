"""Sensors that move together: which they are, what they do as one, and which places of the ranking are in doubt."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from protocols.card import Correlation, Together
from trainer.columns import Column
from trainer.explain.explanation import HALF_INTERVAL, Explained
from trainer.guardrails.rail import evenly

Array = np.ndarray[Any, Any]

#: Rank correlation from which two sensors are named as moving together.
TOGETHER = 0.7
#: Rows of a rank correlation, and inputs that are looked at as groups, the most important.
RANKED_ROWS, GROUPED = 2_000, 40


def correlations(top: Sequence[Column], features: Sequence[Column]) -> tuple[Correlation, ...]:
    """For each important number its closest other number, where they move together."""
    numbers = [column for column in features if column.kind == "number"]
    if len(numbers) < 2:
        return ()
    ranks = _all_ranks(numbers)
    names = [column.name for column in numbers]
    told: dict[frozenset[str], Correlation] = {}
    for column in top:
        if column.kind != "number":
            continue
        place = names.index(column.name)
        together = ranks @ ranks[place]
        together[place] = 0.0
        closest = int(np.abs(together).argmax())
        if abs(together[closest]) >= TOGETHER:
            pair = frozenset((column.name, names[closest]))
            value = float(np.clip(together[closest], -1, 1))
            told.setdefault(pair, Correlation(column.name, names[closest], value))
    return tuple(told.values())


def groups(explained: Explained, features: Sequence[Column]) -> tuple[Together, ...]:
    """Return the important numbers that hang together, as one: their contributions are added before they are measured.

    What correlated sensors share, a model may put on any of them, and a ranking with each alone puts all of them too
    low. Two groups that touch are one.
    """
    important = [one.feature for one in explained.importance[:GROUPED] if one.value > 0]
    numbers = [column for column in features if column.kind == "number" and column.name in important]
    if len(numbers) < 2 or not len(explained.rows):
        return ()
    ranks = _all_ranks(numbers)
    places = {column.name: place for place, column in enumerate(features)}
    made = []
    for members in _parts(np.abs(ranks @ ranks.T) >= TOGETHER):
        names = sorted((numbers[member].name for member in members), key=important.index)
        sizes = np.abs(explained.contributions[:, [places[name] for name in names]].sum(axis=1))
        error = HALF_INTERVAL * float(sizes.std(ddof=1)) / len(sizes) ** 0.5 if len(sizes) > 1 else None
        made.append(Together(tuple(names), float(sizes.mean()), error))
    return tuple(sorted(made, key=lambda one: (-one.value, one.features)))


def ties(explained: Explained, features: Sequence[Column], most: int) -> tuple[tuple[str, str], ...]:
    """Return neighbours among the most important inputs whose order could be the other way on other rows."""
    if len(explained.rows) < 2:
        return ()
    places = {column.name: place for place, column in enumerate(features)}
    sizes = np.abs(explained.contributions)
    doubtful = []
    for one, two in pairwise([one.feature for one in explained.importance[: most + 1] if one.value > 0]):
        away = sizes[:, places[one]] - sizes[:, places[two]]
        if away.mean() <= HALF_INTERVAL * away.std(ddof=1) / len(away) ** 0.5:
            doubtful.append((one, two))
    return tuple(doubtful)


def _parts(linked: Array) -> list[list[int]]:
    """Return the parts of two or more that links hold together."""
    found, seen = [], set()
    for start in range(len(linked)):
        if start in seen:
            continue
        part, waiting = [], [start]
        while waiting:
            one = waiting.pop()
            if one not in seen:
                seen.add(one)
                part.append(one)
                waiting += [int(other) for other in np.flatnonzero(linked[one])]
        if len(part) > 1:
            found.append(part)
    return found


def _all_ranks(numbers: Sequence[Column]) -> Array:
    rows = evenly(len(numbers[0].values), RANKED_ROWS)
    return np.stack([_ranks(column.values[rows]) for column in numbers])


def _ranks(values: Array) -> Array:
    """Ranks of length one, missing in the middle."""
    ranks = np.unique(values, return_inverse=True)[1].astype(np.float64)
    missing = np.isnan(values)
    ranks -= ranks[~missing].mean() if (~missing).any() else 0.0
    ranks[missing] = 0.0
    length = np.linalg.norm(ranks)
    return np.asarray(ranks / length if length else ranks)
