"""How good predictions are: the metric that decides (lower is better) and the figures that people ask for."""

import math
from typing import Any

import numpy as np
from sklearn.metrics import accuracy_score, log_loss, mean_absolute_error, r2_score, roc_auc_score

from protocols.manifest import Task

METRIC: dict[Task, str] = {"regression": "rmse", "classification": "log_loss"}


def regression_loss(truth: np.ndarray[Any, Any], prediction: np.ndarray[Any, Any]) -> float:
    """Root mean squared error, in the target's unit; both of shape (rows,)."""
    difference = truth.astype(np.float64) - prediction.astype(np.float64)
    return math.sqrt(float(np.mean(difference**2)))


def classification_loss(truth: np.ndarray[Any, Any], probabilities: np.ndarray[Any, Any]) -> float:
    """Log loss in nats.

    Args:
        truth: index of each row's class, shape (rows,).
        probabilities: shape (rows, classes); normalised here, since float32 sums are not exactly one.
    """
    return float(log_loss(truth, normal_probabilities(probabilities), labels=np.arange(probabilities.shape[1])))


def regression_metrics(truth: np.ndarray[Any, Any], prediction: np.ndarray[Any, Any]) -> dict[str, float]:
    return {
        "rmse": regression_loss(truth, prediction),
        "mae": float(mean_absolute_error(truth, prediction)),
        "r2": float(r2_score(truth, prediction)),
    }


def classification_metrics(truth: np.ndarray[Any, Any], probabilities: np.ndarray[Any, Any]) -> dict[str, float]:
    """As `classification_loss`, with accuracy, balanced accuracy and, where both sides occur, ROC AUC."""
    normal = normal_probabilities(probabilities)
    predicted = normal.argmax(axis=1)
    present = np.unique(truth)
    figures = {
        "log_loss": classification_loss(truth, probabilities),
        "accuracy": float(accuracy_score(truth, predicted)),
    }
    recalls = [float((predicted[truth == one] == one).mean()) for one in present]
    figures["balanced_accuracy"] = float(np.mean(recalls))
    aucs = [
        float(roc_auc_score(truth == one, normal[:, one]))
        for one in present
        if 0 < int((truth == one).sum()) < len(truth)
    ]
    if aucs:
        figures["roc_auc"] = float(np.mean(aucs))
    return figures


def normal_probabilities(probabilities: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return probabilities that are above zero and add up to one, as float64."""
    exact = np.clip(probabilities.astype(np.float64), 1e-7, 1.0)
    normal: np.ndarray[Any, Any] = exact / exact.sum(axis=1, keepdims=True)
    return normal
