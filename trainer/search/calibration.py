"""Calibration by a temperature, chosen on rows not learned from."""

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
