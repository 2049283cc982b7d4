"""Calibration by a temperature, and the threshold of a decision with costs; both chosen on rows not learned from."""

import numpy as np
from scipy.optimize import minimize_scalar

from trainer.graph.encoded import Array
from trainer.metrics import cautious_log_loss

#: Probabilities below this count as this: no row is impossible.
LEAST = 1e-6
#: The temperature must better the log loss by this share to be worth two nodes in the graph.
WORTH = 1e-3


def fit_temperature(probabilities: Array, truth: Array) -> float:
    """Return the temperature T for which p^(1/T), made to add up to one, has the least log loss; 1: none is better.

    Args:
        probabilities: of rows not learned from, shape (rows, classes).
        truth: places among the classes, shape (rows,).

    Source: Guo, Pleiss, Sun, Weinberger, "On Calibration of Modern Neural Networks" (2017).
    """

    def loss(log_temperature: float) -> float:
        return cautious_log_loss(truth, apply_temperature(probabilities, float(np.exp(log_temperature))))

    found = minimize_scalar(loss, bounds=(np.log(0.5), np.log(4.0)), method="bounded", options={"xatol": 1e-3})
    better = found.fun < loss(0.0) * (1.0 - WORTH)
    return float(f"{np.exp(found.x):.4g}") if better else 1.0


def apply_temperature(probabilities: Array, temperature: float) -> Array:
    """As `fit_temperature` says."""
    logarithms = np.log(np.clip(probabilities.astype(np.float64), LEAST, 1.0)) / temperature
    exact = np.exp(logarithms - logarithms.max(axis=1, keepdims=True))
    return np.asarray(exact / exact.sum(axis=1, keepdims=True))


def cheapest_threshold(scores: Array, positive: Array, false_alarm: float, miss: float) -> tuple[float, float]:
    """Return the probability from which an alarm costs least on these rows, and that cost per row.

    Args:
        scores: probability of the positive class, shape (rows,).
        positive: whether a row was positive, shape (rows,).
        false_alarm, miss: what each costs, in any one unit.
    """
    order = np.argsort(-scores, kind="stable")
    hits = np.cumsum(positive[order])
    alarms = np.arange(1, len(scores) + 1)
    costs = false_alarm * (alarms - hits) + miss * (positive.sum() - hits)
    costs = np.append(miss * positive.sum(), costs)  # no alarm at all
    ranked = scores[order]
    # A threshold can only lie between two different scores.
    allowed = np.append(True, np.append(ranked[:-1] != ranked[1:], True))
    costs = np.where(allowed, costs, np.inf)
    best = costs.min()
    # Of equally cheap ones the one in the middle: it is the furthest from both mistakes.
    places = np.flatnonzero(costs == best)
    place = int(places[len(places) // 2])
    above = ranked[place - 1] if place else 1.0
    below = ranked[place] if place < len(ranked) else 0.0
    return float(np.float32((above + below) / 2)), float(best / len(scores))
