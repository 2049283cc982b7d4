"""How good a model is, in figures: the simplest answer, calibration, confusion, thresholds, residuals."""

from typing import Any

import numpy as np

from protocols.card import Baseline, Bin, Confusion, Histogram, Operating
from trainer.metrics import classification_metrics, regression_metrics
from trainer.targets import Target

Array = np.ndarray[Any, Any]

#: Parts of a calibration, and the held-out rows that each has at least.
BINS, BIN_ROWS = 10, 10
#: Classes of a confusion matrix at most, thresholds that are told, and parts of a histogram.
MOST_CLASSES, THRESHOLDS, PARTS = 12, 25, 20


def true_values(target: Target) -> Array:
    """The target of every row: numbers, or places among the classes."""
    if target.task == "regression":
        return target.values.astype(np.float64)
    return np.asarray(np.unique(target.values, return_inverse=True)[1])


def baseline(target: Target, learned: Array, truth: Array) -> Baseline:
    if target.task == "regression":
        return Baseline("mean", regression_metrics(truth, np.full(len(truth), learned.mean())))
    shares = np.bincount(learned, minlength=len(target.classes)) / len(learned)
    figures = classification_metrics(truth, np.tile(shares, (len(truth), 1)))
    return Baseline("shares", figures)


def calibration(target: Target, truth: Array, output: Array, place: int | None) -> tuple[tuple[Bin, ...], str]:
    """Bins of equal rows by the prediction, and what is predicted and observed."""
    if target.task == "regression":
        predicted, observed, of = output, truth, target.name
    elif place is not None:
        predicted, observed, of = output[:, place], truth == place, f"share of {target.classes[place]!r}"
    else:
        predicted, observed, of = output.max(axis=1), output.argmax(axis=1) == truth, "share of right answers"
    order = np.argsort(predicted, kind="stable")
    parts = np.array_split(order, max(1, min(BINS, len(order) // BIN_ROWS)))
    bins = tuple(Bin(float(predicted[part].mean()), float(observed[part].mean()), len(part)) for part in parts)
    return bins, of


def confusion(target: Target, truth: Array, answers: Array) -> Confusion | None:
    """Count answers by true class; None for a regression, and for more classes than a reader takes in.

    Args:
        answers: places among the classes.
    """
    count = len(target.classes)
    if not 2 <= count <= MOST_CLASSES:
        return None
    table = np.bincount(truth * count + answers, minlength=count * count).reshape(count, count)
    return Confusion(target.classes, tuple(tuple(int(cell) for cell in line) for line in table))


def operating(truth: Array, shares: Array) -> tuple[Operating, ...]:
    """Return what thresholds would do, spread evenly over the answers, the highest first.

    Args:
        truth: whether each row is of the class in question.
        shares: its probability.
    """
    if truth.all() or not truth.any():
        return ()
    order = np.argsort(-shares, kind="stable")
    ranked, hits = shares[order], np.cumsum(truth[order])
    last = np.flatnonzero(np.append(np.diff(ranked) < 0, True))  # equal scores are answered alike
    told = last[np.unique(np.linspace(0, len(last) - 1, min(THRESHOLDS, len(last))).astype(int))]
    found, alarms = hits[told], told + 1 - hits[told]
    return tuple(
        Operating(float(threshold), float(hit), float(alarm), float(right))
        for threshold, hit, alarm, right in zip(
            ranked[told], found / truth.sum(), alarms / (~truth).sum(), found / (told + 1), strict=True
        )
    )


def residuals(truth: Array, output: Array) -> Histogram | None:
    """Return how predictions differ from true values; the outermost hundredth at each side is not shown."""
    error = output.astype(np.float64) - truth
    low, high = np.percentile(error, [1, 99])
    if not low < high:
        return None
    counts, edges = np.histogram(error, bins=PARTS, range=(low, high))
    return Histogram(tuple(float(edge) for edge in edges), tuple(int(count) for count in counts))
