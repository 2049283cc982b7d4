"""The summary of a run: what was searched for, from where on an alarm is raised, what a readable model costs."""

from importlib.metadata import packages_distributions, version
from pathlib import Path

import msgspec
import numpy as np
import pandas as pd
import pytest

from protocols.card import Front, Interpretable
from protocols.manifest import Manifest
from protocols.recipe import Decision
from trainer.assembly import measure
from trainer.lineage import pins
from trainer.metrics import METRICS
from trainer.report import Report, decode_report, describe
from trainer.targets import read_target

Candidate = tuple[Path, Manifest]


@pytest.fixture
def report(class_candidate: Candidate) -> Report:
    return decode_report((class_candidate[0] / "report.json").read_bytes())


@pytest.fixture
def manifest(class_candidate: Candidate) -> Manifest:
    return class_candidate[1]


def with_card(report: Report, **changes: object) -> Report:
    return msgspec.structs.replace(report, card=msgspec.structs.replace(report.card, **changes))


def test_losses_are_called_by_what_the_search_made_small(report: Report, manifest: Manifest) -> None:
    front = (Front("mean of 2", 0.2, 0.1, 200_000, 1), Front("linear", 0.3, 0.01, 300, 1, chosen=True))
    text = describe(with_card(report, front=front, loss_name=METRICS["roc_auc"].loss_name), manifest)
    assert "leaderboard (1 - roc_auc on rows to validate on, lower is better)" in text
    assert "2 * linear      1 - roc_auc 0.3" in text
    assert "0.3 kB" in text
    assert f"held-out rows: log_loss {manifest.metrics['log_loss']:.4g}" in text
    assert "leaderboard (log_loss on" in describe(with_card(report, loss_name=""), manifest)


def test_the_threshold_and_the_costs_that_set_it_are_told(report: Report, manifest: Manifest) -> None:
    recipe = manifest.lineage.recipe
    assert recipe is not None
    decided = msgspec.structs.replace(recipe, decision=Decision("bad", 0.0476, 1.0, 20.0))
    lineage = msgspec.structs.replace(manifest.lineage, recipe=decided)
    text = describe(report, msgspec.structs.replace(manifest, lineage=lineage))
    assert "answers 'bad' from a probability of 0.0476 on: a miss costs 20 and a false alarm 1" in text
    assert "from a probability of" not in describe(report, manifest)


@pytest.mark.parametrize(
    ("share", "words"),
    [(0.0, "the best of all"), (0.004, "0.4% more than the best"), (4.2, "4.2 times more than the best")],
)
def test_what_reading_it_whole_costs_is_told(report: Report, manifest: Manifest, share: float, words: str) -> None:
    readable = Interpretable("linear", 0.5, 0.5 / (1 + share), share)
    assert f"linear: log_loss 0.5, {words}" in describe(with_card(report, interpretable=readable), manifest)


def test_models_that_were_left_out_for_want_of_time_are_told(report: Report, manifest: Manifest) -> None:
    left_out = "released without them: give a larger --budget"
    assert left_out in describe(msgspec.structs.replace(report, cut_short=True), manifest)
    assert left_out not in describe(report, manifest)


def test_figures_of_answers_are_of_the_threshold(many_rows: pd.DataFrame) -> None:
    target = read_target("fault", many_rows["fault"], None)
    truth = target.values
    alarms = np.column_stack([np.full(len(truth), 0.1), np.full(len(truth), 0.9)])  # 'bad' with 0.1, 'good' with 0.9
    share = float((truth == "bad").mean())
    assert measure(target, truth, alarms)["accuracy"] == pytest.approx(1 - share)
    decision = Decision("bad", 0.05, 1.0, 20.0)
    assert measure(target, truth, alarms, decision)["accuracy"] == pytest.approx(share)


@pytest.mark.parametrize("library", ["lightgbm", "xgboost", "catboost"])
def test_the_lineage_names_the_version_of_each_boosting_library(library: str) -> None:
    pytest.importorskip(library, reason="the extra `boosting` is not installed")
    name = next(name for name in packages_distributions()[library])
    assert pins()[name] == version(name)


def test_weak_spots_that_were_not_looked_at_are_not_passed_over(report: Report, manifest: Manifest) -> None:
    missed = describe(with_card(report, segments=None), manifest)
    assert "where it is worst\n  not looked at: the time ran out" in missed
    assert "where it is worst" not in describe(with_card(report, segments=()), manifest)
