"""How good predictions are: the metric that decides (lower is better) and the figures that people ask for."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.metrics import (
    accuracy_score,
    log_loss,
    mean_absolute_error,
    r2_score,
    roc_auc_score,
)

from protocols.manifest import Task
from trainer.errors import RequestError
from trainer.thresholds import Loss, balanced_loss, best_threshold, f1_loss

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


def classification_metrics(
    truth: np.ndarray[Any, Any], probabilities: np.ndarray[Any, Any], answers: np.ndarray[Any, Any] | None = None
) -> dict[str, float]:
    """As `classification_loss`, with accuracy, balanced accuracy and, where both sides occur, ROC AUC.

    Args:
        answers: index of the class that each row is answered with; None: the likeliest.
    """
    normal = normal_probabilities(probabilities)
    predicted = normal.argmax(axis=1) if answers is None else answers
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


@dataclass(frozen=True, slots=True)
class Metric:
    """What a search makes as small as it can.

    Attributes:
        loss: of true values (rows,) and outputs, probabilities (rows, classes) or predictions (rows, 1).
        higher: the figure that people know is one minus the loss.
        mistakes: of two classes, what it is by the answers, where it depends on the threshold that makes them: the loss
            is that of the best one then, and a release answers by it.
    """

    name: str
    task: Task
    loss: Callable[[np.ndarray[Any, Any], np.ndarray[Any, Any]], float]
    higher: bool = False
    mistakes: Loss | None = None

    @property
    def loss_name(self) -> str:
        """What a loss is, as tables of losses are headed."""
        return f"1 - {self.name}" if self.higher else self.name

    def figure(self, loss: float) -> float:
        """Return a loss as the figure that people know."""
        return 1.0 - loss if self.higher else loss


def _quick_log_loss(truth: np.ndarray[Any, Any], output: np.ndarray[Any, Any]) -> float:
    exact = np.clip(output.astype(np.float64), 1e-7, 1.0)
    given = exact[np.arange(len(truth)), truth.astype(np.int64)] / exact.sum(axis=1)
    return float(-np.log(given).mean())


def cautious_log_loss(truth: np.ndarray[Any, Any], output: np.ndarray[Any, Any]) -> float:
    """Log loss as if there were one row more, on which the likeliest class is wrong.

    Without a mistake in the few rows that there are, the most certain model would always be best; so certainty is paid
    for as much as the number of rows asks. Of thousands of rows it is the log loss itself.
    """
    return float(cautious_log_losses(truth, output[None])[0])


def cautious_log_losses(truth: np.ndarray[Any, Any], outputs: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """As `cautious_log_loss`, of several models: outputs of shape (models, rows, classes)."""
    exact = np.clip(outputs.astype(np.float64), 1e-7, 1.0)
    total = exact.sum(axis=2)
    given = -np.log(exact[:, np.arange(len(truth)), truth.astype(np.int64)] / total)
    doubt = np.clip((1.0 - exact.max(axis=2) / total) / (exact.shape[2] - 1), 1e-7, 1.0)
    return np.asarray((given.sum(axis=1) - np.log(doubt).mean(axis=1)) / (len(truth) + 1))


def _brier(truth: np.ndarray[Any, Any], output: np.ndarray[Any, Any]) -> float:
    wanted = np.eye(output.shape[1])[truth.astype(np.int64)]
    return float(((output - wanted) ** 2).sum(axis=1).mean())


def _error_rate(truth: np.ndarray[Any, Any], output: np.ndarray[Any, Any]) -> float:
    # A trace of the probability breaks ties between models that are right equally often.
    return float((output.argmax(axis=1) != truth).mean()) + 1e-4 * _quick_log_loss(truth, output)


def _at_best(truth: np.ndarray[Any, Any], output: np.ndarray[Any, Any], mistakes: Loss) -> float:
    """Of two classes, the least loss of any threshold for the rarer one, which an alarm is for."""
    true = truth.astype(np.int64)
    place = rarer(true)
    return best_threshold(output[:, place], true == place, mistakes)[1] + 1e-4 * _quick_log_loss(truth, output)


def _balanced_error(truth: np.ndarray[Any, Any], output: np.ndarray[Any, Any]) -> float:
    if output.shape[1] == 2:
        return _at_best(truth, output, balanced_loss)
    predicted = output.argmax(axis=1)
    missed = [float((predicted[truth == one] != one).mean()) for one in np.unique(truth)]
    return float(np.mean(missed)) + 1e-4 * _quick_log_loss(truth, output)


def _f1_loss(truth: np.ndarray[Any, Any], output: np.ndarray[Any, Any]) -> float:
    """Of two classes that of the rarer one; of more the mean of all that occur."""
    if output.shape[1] == 2:
        return _at_best(truth, output, f1_loss)
    given, true = output.argmax(axis=1), truth.astype(np.int64)
    classes = output.shape[1]
    hits = np.bincount(true[given == true], minlength=classes)
    both = np.bincount(true, minlength=classes) + np.bincount(given, minlength=classes)
    scores = 2.0 * hits / np.maximum(both, 1)
    return 1.0 - float(scores[both > 0].mean()) + 1e-4 * _quick_log_loss(truth, output)


def _roc_loss(truth: np.ndarray[Any, Any], output: np.ndarray[Any, Any]) -> float:
    return 1.0 - _mean_of_classes(_roc_auc, truth, output)


def _precision_loss(truth: np.ndarray[Any, Any], output: np.ndarray[Any, Any]) -> float:
    return 1.0 - _mean_of_classes(_average_precision, truth, output)


def _mean_of_classes(score: Any, truth: np.ndarray[Any, Any], output: np.ndarray[Any, Any]) -> float:
    """One class against the others; of two classes the rarer alone."""
    classes = [rarer(truth.astype(np.int64))] if output.shape[1] == 2 else list(range(output.shape[1]))
    sides = [(truth == one, output[:, one]) for one in classes]
    found = [score(mine, scores) for mine, scores in sides if 0 < np.count_nonzero(mine) < len(truth)]
    return float(np.mean(found)) if found else 0.5


def rarer(truth: np.ndarray[Any, Any]) -> int:
    """The place of the rarer of two classes; the second where there are as many of either."""
    first, second = np.bincount(truth, minlength=2)
    return 0 if first < second else 1


def _roc_auc(positive: np.ndarray[Any, Any], scores: np.ndarray[Any, Any]) -> float:
    """As scikit-learn's, some ten times quicker on few rows: a choice of means asks for thousands."""
    order = np.argsort(scores, kind="stable")
    ranked = scores[order]
    ends = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True)) + 1
    begins = np.append(0, ends[:-1])
    ranks = np.repeat((begins + ends + 1) / 2.0, ends - begins)  # equal scores share the mean of their ranks
    many = np.count_nonzero(positive)
    return float((ranks[positive[order]].sum() - many * (many + 1) / 2.0) / (many * (len(scores) - many)))


def _average_precision(positive: np.ndarray[Any, Any], scores: np.ndarray[Any, Any]) -> float:
    """As scikit-learn's."""
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    ends = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))
    hits = np.cumsum(positive[order])[ends]
    return float((np.diff(hits, prepend=0) * hits / (ends + 1)).sum() / hits[-1])


def _rmse(truth: np.ndarray[Any, Any], output: np.ndarray[Any, Any]) -> float:
    return regression_loss(truth, output.reshape(-1))


def _mae(truth: np.ndarray[Any, Any], output: np.ndarray[Any, Any]) -> float:
    return float(np.abs(truth.astype(np.float64) - output.reshape(-1)).mean())


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("log_loss", "classification", cautious_log_loss),
        Metric("brier", "classification", _brier),
        Metric("accuracy", "classification", _error_rate, higher=True),
        Metric("balanced_accuracy", "classification", _balanced_error, higher=True, mistakes=balanced_loss),
        Metric("f1", "classification", _f1_loss, higher=True, mistakes=f1_loss),
        Metric("roc_auc", "classification", _roc_loss, higher=True),
        Metric("average_precision", "classification", _precision_loss, higher=True),
        Metric("rmse", "regression", _rmse),
        Metric("mae", "regression", _mae),
    )
}


def metric_named(name: str) -> Metric:
    """Raises RequestError where there is none of that name."""
    if name not in METRICS:
        raise RequestError(f"metric {name!r} is not known: give one of {', '.join(METRICS)}")
    return METRICS[name]
