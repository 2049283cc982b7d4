"""Thresholds of decisions: none is better on the rows that they are chosen on, and the release answers by them."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulators.inline_workers import train_inline
from sklearn.metrics import balanced_accuracy_score, f1_score

from protocols.manifest import Manifest
from protocols.recipe import Decision
from trainer.candidate import read_candidate
from trainer.graphs import open_graph
from trainer.limits import Costs
from trainer.metrics import METRICS
from trainer.report import decode_report, describe
from trainer.request import TrainRequest
from trainer.thresholds import balanced_loss, best_threshold, f1_loss
from trainer.train import train

Array = np.ndarray[Any, Any]

#: Whether a row is positive, and its score in twelfths, so that many are equal.
ROWS = st.lists(st.tuples(st.booleans(), st.integers(0, 12)), min_size=2, max_size=40)


def least(scores: Array, loss: Any) -> float:
    """The least loss of a threshold between any two twelfths."""
    return min(float(loss(scores >= (twelfth - 0.5) / 12.0)) for twelfth in range(14))


@pytest.mark.parametrize(("false_alarm", "miss"), [(1.0, 1.0), (1.0, 10.0), (10.0, 1.0)])
def test_no_threshold_is_cheaper(false_alarm: float, miss: float) -> None:
    random = np.random.default_rng(1)
    scores = random.integers(0, 12, 200) / 12.0
    positive = random.random(200) < scores
    threshold, cost = best_threshold(scores, positive, Costs(false_alarm, miss).a_row)

    def paid(alarms: Array) -> float:
        return float((false_alarm * (alarms & ~positive) + miss * (~alarms & positive)).mean())

    assert paid(scores >= threshold) == pytest.approx(cost)
    assert cost == pytest.approx(least(scores, paid))


@settings(max_examples=15)
@given(ROWS)
def test_no_threshold_has_a_better_f1_or_balanced_accuracy(rows: list[tuple[bool, int]]) -> None:
    positive = np.array([True, False, *(one for one, _ in rows)])
    scores = np.array([6, 6, *(score for _, score in rows)]) / 12.0

    def f1(alarms: Array) -> float:
        return 1.0 - float(f1_score(positive, alarms, zero_division=0.0))

    def balanced(alarms: Array) -> float:
        return 1.0 - float(balanced_accuracy_score(positive, alarms))

    for loss, told in ((f1_loss, f1), (balanced_loss, balanced)):
        threshold, found = best_threshold(scores, positive, loss)
        assert told(scores >= threshold) == pytest.approx(found)
        assert found == pytest.approx(least(scores, told))


def test_rows_of_one_class_have_a_loss() -> None:
    scores = np.array([0.2, 0.7, 0.7])
    for positive, f1 in ((np.zeros(3, dtype=bool), 1.0), (np.ones(3, dtype=bool), 0.0)):
        assert best_threshold(scores, positive, f1_loss)[1] == f1
        assert best_threshold(scores, positive, balanced_loss)[1] == 0.0


def test_where_no_alarm_is_best_a_certain_row_raises_none_either() -> None:
    threshold, cost = best_threshold(np.array([1.0, 0.9]), np.array([False, True]), Costs(10.0, 1.0).a_row)
    assert (threshold > 1.0, cost) == (True, 0.5)


def rare(rows: int, seed: int) -> pd.DataFrame:
    """One row in fifteen is bad, and none is more likely bad than good by much."""
    random = np.random.default_rng(seed)
    heat, wear = random.normal(size=(2, rows))
    share = 1.0 / (1.0 + np.exp(3.4 - 1.2 * heat - 0.7 * wear))
    return pd.DataFrame({"heat": heat, "wear": wear, "part": np.where(random.random(rows) < share, "bad", "good")})


@pytest.fixture(scope="module")
def candidates(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("rare")
    with pytest.MonkeyPatch.context() as patched:
        train_inline(patched)
        for metric in ("f1", "balanced_accuracy", "accuracy"):
            train(TrainRequest(rare(1500, 0), "part", "press", budget_s=30, trials=1, metric=metric), folder / metric)
    return {metric: folder / metric for metric in ("f1", "balanced_accuracy", "accuracy")}


def decision_of(manifest: Manifest) -> Decision | None:
    assert manifest.lineage.recipe is not None
    return manifest.lineage.recipe.decision


@pytest.mark.parametrize("metric", ["f1", "balanced_accuracy"])
def test_a_metric_of_the_answers_moves_the_threshold_of_the_release(candidates: dict[str, Path], metric: str) -> None:
    manifest = read_candidate(candidates[metric])
    decision = decision_of(manifest)
    assert decision is not None
    assert (decision.positive, decision.metric) == ("bad", metric)
    assert 0 < decision.threshold < 0.4
    new = rare(20_000, 1)  # rows that it has never seen
    feed = {name: new[[name]].to_numpy(np.float32) for name in ("heat", "wear")}
    answers, probabilities, *_ = open_graph((candidates[metric] / "model.onnx").read_bytes()).run(None, feed)
    own = probabilities[:, manifest.classes.index("bad")]
    np.testing.assert_array_equal(answers == "bad", own >= np.float32(decision.threshold))
    likeliest = np.array(manifest.classes, dtype=object)[probabilities.argmax(axis=1)]
    truth = new["part"].to_numpy() == "bad"

    def figure(given: Array) -> float:
        if metric == "f1":
            return float(f1_score(truth, given == "bad"))
        return float(balanced_accuracy_score(truth, given == "bad"))

    assert figure(answers) > figure(likeliest) + 0.1
    # The figures of the card are of these answers: on rows held out they are about as good.
    now = balanced_accuracy_score(truth, answers == "bad")
    assert manifest.metrics["balanced_accuracy"] == pytest.approx(now, abs=0.15)


def test_summary_and_card_name_it_and_its_reason(candidates: dict[str, Path]) -> None:
    decision = decision_of(read_candidate(candidates["f1"]))
    assert decision is not None
    told = f"answers 'bad' from a probability of {decision.threshold:.3g} on: f1 is best so on the rows to validate on"
    assert told in (candidates["f1"] / "card.md").read_text()
    report = decode_report((candidates["f1"] / "report.json").read_bytes())
    assert told in describe(report, read_candidate(candidates["f1"]))


def test_the_loss_of_the_search_is_that_at_the_threshold(candidates: dict[str, Path]) -> None:
    (tried,) = decode_report((candidates["f1"] / "report.json").read_bytes()).trials
    assert tried.loss < 0.75  # the likeliest class hardly ever is the rare one: its F1 is near 0


def test_with_another_metric_the_likeliest_class_is_answered(candidates: dict[str, Path]) -> None:
    assert decision_of(read_candidate(candidates["accuracy"])) is None
    moved = {name for name, metric in METRICS.items() if metric.mistakes is not None}
    assert moved == {"f1", "balanced_accuracy"}
