"""Champion against challenger: a fair measure on rows of any shape."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from protocols.manifest import Manifest
from trainer.challenge import evaluate
from trainer.errors import MissingColumnError, TooFewRowsError

Candidate = tuple[Path, Manifest]


def test_a_regression_is_measured_by_its_graph(regression_candidate: Candidate, plant: pd.DataFrame) -> None:
    found = evaluate(regression_candidate[0], plant)
    assert (found["metric"], found["rows"]) == ("rmse", len(plant))
    assert 0.2 < found["value"] < 2.0


def test_unlabelled_rows_are_left_out(regression_candidate: Candidate, plant: pd.DataFrame) -> None:
    plant.loc[:99, "yield"] = np.nan
    assert evaluate(regression_candidate[0], plant)["rows"] == len(plant) - 100


def test_worse_rows_score_worse(regression_candidate: Candidate, plant: pd.DataFrame) -> None:
    before = evaluate(regression_candidate[0], plant)["value"]
    plant["Torque [Nm]"] = plant["Torque [Nm]"].iloc[::-1].to_numpy()
    assert evaluate(regression_candidate[0], plant)["value"] > 2 * before


def test_text_for_a_number_counts_as_missing(regression_candidate: Candidate, plant: pd.DataFrame) -> None:
    plant["wear"] = plant["wear"].astype(object)
    plant.loc[:100, "wear"] = "broken"
    assert np.isfinite(evaluate(regression_candidate[0], plant)["value"])


def test_a_class_never_learned_costs_the_model(class_candidate: Candidate, plant: pd.DataFrame) -> None:
    known = evaluate(class_candidate[0], plant)
    assert known["unknown"] == 0
    plant.loc[:23, "fault"] = "new kind"
    found = evaluate(class_candidate[0], plant)
    assert found["unknown"] == 24
    assert found["value"] > known["value"] + 0.5


def test_one_row_and_one_class_can_be_measured(class_candidate: Candidate, plant: pd.DataFrame) -> None:
    assert evaluate(class_candidate[0], plant.head(1))["rows"] == 1


def test_rows_without_an_input_or_a_label_are_refused(class_candidate: Candidate, plant: pd.DataFrame) -> None:
    with pytest.raises(MissingColumnError, match="wear"):
        evaluate(class_candidate[0], plant.drop(columns="wear"))
    with pytest.raises(TooFewRowsError):
        evaluate(class_candidate[0], plant.assign(fault=None))
