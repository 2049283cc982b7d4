"""The threshold of a decision: from which probability on a row counts as the positive of two classes."""

from collections.abc import Callable
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

#: What mistakes lose: false alarms and misses, arrays of the same shape, of so many positive and negative rows.
Loss = Callable[[Array, Array, int, int], Array]
#: Above every probability.
_NEVER = 1.001


def best_threshold(scores: Array, positive: Array, loss: Loss) -> tuple[float, float]:
    """Return the probability from which an alarm loses least on these rows, and that loss.

    Args:
        scores: probability of the positive class, shape (rows,).
        positive: whether a row was positive, shape (rows,).
    """
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    hits = np.append(0, np.cumsum(positive[order]))  # of no alarm at all, of one for the highest score, and so on
    many = int(hits[-1])
    losses = loss(np.arange(len(hits)) - hits, many - hits, many, len(scores) - many)
    # A threshold can only lie between two different scores.
    allowed = np.append(True, np.append(ranked[:-1] != ranked[1:], True))
    losses = np.where(allowed, losses, np.inf)
    best = losses.min()
    # Of equally good ones the one in the middle: it is the furthest from both mistakes.
    places = np.flatnonzero(losses == best)
    place = int(places[len(places) // 2])
    above = ranked[place - 1] if place else _NEVER
    below = ranked[place] if place < len(ranked) else 0.0
    return float(np.float32((above + below) / 2)), float(best)


def balanced_loss(false_alarms: Array, misses: Array, positives: int, negatives: int) -> Array:
    """One minus the balanced accuracy; a class that does not occur has no mistakes."""
    return np.asarray((misses / max(positives, 1) + false_alarms / max(negatives, 1)) / 2)


def f1_loss(false_alarms: Array, misses: Array, positives: int, negatives: int) -> Array:
    """One minus the F1 of the positive class; 1 where there is none."""
    hits = positives - misses
    return np.asarray(1.0 - 2.0 * hits / np.maximum(2 * hits + false_alarms + misses, 1))
