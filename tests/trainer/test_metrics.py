"""Metrics of the search beside scikit-learn's."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, balanced_accuracy_score, f1_score, log_loss, roc_auc_score

from trainer.errors import RequestError
from trainer.metrics import METRICS, metric_named
from trainer.train_options import METRICS as OFFERED

#: Few different probabilities, so that many are equal.
ROWS = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 4), st.integers(0, 4)), min_size=8, max_size=60)


def table(rows: list[tuple[int, int, int]], classes: int) -> tuple[Any, Any]:
    """Truth and probabilities of the rows, every class among them."""
    truth = np.array([*range(classes), *(one % classes for one, _, _ in rows)])
    raw = np.array([[1, 2, 3], [2, 2, 1], [4, 1, 1]][:classes] + [[1 + a, 1 + b, 2] for _, a, b in rows])[:, :classes]
    return truth, (raw / raw.sum(axis=1, keepdims=True)).astype(np.float32)


@settings(max_examples=15)
@given(ROWS)
def test_of_two_classes_the_rarer_one_is_measured_as_scikit_learn_does(rows: list[tuple[int, int, int]]) -> None:
    truth, output = table(rows, 2)
    rarer = 0 if (truth == 0).sum() < (truth == 1).sum() else 1
    mine, scores = truth == rarer, output[:, rarer]
    assert METRICS["roc_auc"].loss(truth, output) == pytest.approx(1 - roc_auc_score(mine, scores))
    assert METRICS["average_precision"].loss(truth, output) == pytest.approx(1 - average_precision_score(mine, scores))
    at_each = [scores >= at for at in (*np.unique(scores), 2.0)]
    f1 = max(f1_score(mine, given, zero_division=0.0) for given in at_each)
    balanced = max(balanced_accuracy_score(mine, given) for given in at_each)
    exact = output.astype(np.float64)
    certainty = 1e-4 * log_loss(truth, exact / exact.sum(axis=1, keepdims=True))
    assert METRICS["f1"].loss(truth, output) == pytest.approx(1 - f1 + certainty, abs=1e-6)
    assert METRICS["balanced_accuracy"].loss(truth, output) == pytest.approx(1 - balanced + certainty, abs=1e-6)


@settings(max_examples=15)
@given(ROWS)
def test_of_three_classes_each_is_measured_against_the_others(rows: list[tuple[int, int, int]]) -> None:
    truth, output = table(rows, 3)
    auc = np.mean([roc_auc_score(truth == one, output[:, one]) for one in range(3)])
    precision = np.mean([average_precision_score(truth == one, output[:, one]) for one in range(3)])
    assert METRICS["roc_auc"].loss(truth, output) == pytest.approx(1 - auc)
    assert METRICS["average_precision"].loss(truth, output) == pytest.approx(1 - precision)
    f1 = f1_score(truth, output.argmax(axis=1), average="macro", zero_division=0.0)
    assert METRICS["f1"].loss(truth, output) == pytest.approx(1 - f1, abs=1e-3)


def test_the_name_of_a_class_does_not_decide_what_is_measured() -> None:
    truth = np.array([0] * 5 + [1] * 45)  # the rarer class comes first in the alphabet
    lazy = np.tile(np.array([[0.1, 0.9]], dtype=np.float32), (50, 1))
    assert METRICS["f1"].loss(truth, lazy) == pytest.approx(1 - 2 * 5 / (2 * 5 + 45), abs=1e-3)  # an alarm at every row
    assert METRICS["average_precision"].loss(truth, lazy) == pytest.approx(0.9)


@pytest.mark.parametrize("name", [one.name for one in METRICS.values() if one.task == "classification"])
def test_a_better_answer_loses_less(name: str) -> None:
    truth = np.arange(30) % 3
    good, poor = (np.full((30, 3), (1 - right) / 2, np.float32) for right in (0.9, 0.5))
    good[np.arange(30), truth] = 0.9
    poor[np.arange(30), np.where(np.arange(30) % 4, truth, (truth + 1) % 3)] = 0.5
    assert METRICS[name].loss(truth, good) < METRICS[name].loss(truth, poor)


def test_the_command_line_offers_every_metric_and_others_are_told_which_there_are() -> None:
    assert tuple(METRICS) == OFFERED
    with pytest.raises(RequestError, match="metric 'auc' is not known: give one of log_loss, brier"):
        metric_named("auc")
