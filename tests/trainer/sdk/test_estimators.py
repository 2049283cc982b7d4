"""`Classifier` and `Regressor`: what scikit-learn's tools expect of an estimator."""

import copy

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.datasets import load_diabetes
from sklearn.exceptions import NotFittedError

import genba
from trainer.class_texts import ClassTexts


@pytest.mark.parametrize(
    "classes",
    [
        np.array([0, 1, 2]),
        np.array([-3, 7]),
        np.array([False, True]),
        np.array(["bad", "good"]),
        np.array(["1", "2", "x"], dtype=object),
        np.array(["", "good"], dtype=object),
        np.array(["2024-01-01", "2024-01-02"], dtype=object),
        np.array([1.5, 2.5]),
    ],
)
def test_classes_survive_the_trainers_spelling(classes) -> None:
    texts = ClassTexts(classes)
    places = np.array([1, 0, 1])
    assert texts.places([str(text) for text in texts.of(places)]).tolist() == [1, 0, 1]


def test_a_classifier_takes_a_table_of_any_columns(plant: pd.DataFrame) -> None:
    rows, answers = plant.drop(columns=["fault", "yield"]), plant["fault"]
    model = genba.Classifier(model="plant-fault", trials=1, jobs=1)
    with pytest.raises(NotFittedError):
        model.predict(rows)
    assert model.fit(rows, answers) is model
    assert model.classes_.tolist() == ["bad", "good"]
    assert model.feature_names_in_.tolist() == list(rows.columns)
    assert model.score(rows, answers) > 0.7
    assert model.predict_proba(rows).sum(axis=1) == pytest.approx(1.0, abs=1e-5)
    assert set(model.predict(rows)) == {"bad", "good"}
    assert model.model_.manifest.target == "fault"
    assert (copy.deepcopy(model).predict(rows) == model.predict(rows)).all()
    with pytest.raises(ValueError, match="feature names"):
        model.predict(rows.rename(columns={"wear": "tear"}))


def test_a_class_too_rare_to_be_learned_has_no_probability(plant: pd.DataFrame) -> None:
    rows = plant[["Torque [Nm]", "wear"]]
    answers = np.where(rows.index < 2, 7, np.where(plant["fault"] == "bad", 3, 5))
    model = genba.Classifier(trials=1, jobs=1).fit(rows, answers)
    assert model.classes_.tolist() == [3, 5, 7]
    assert (model.predict_proba(rows)[:, 2] == 0).all()
    assert set(model.predict(rows)) == {3, 5}


def test_a_regressor_takes_an_array() -> None:
    rows, answers = load_diabetes(return_X_y=True)
    model = genba.Regressor(trials=1, jobs=1).fit(rows, answers)
    assert model.score(rows, answers) > 0.3
    assert model.n_features_in_ == 10
    assert not hasattr(model, "feature_names_in_")
    assert not hasattr(model, "predict_proba")
    assert model.model_.importance["feature"].isin([f"x{place}" for place in range(10)]).all()


def test_a_column_that_knows_the_answer_is_kept_as_given_and_told() -> None:
    random = np.random.default_rng(0)
    rows = pd.DataFrame({"leak": np.repeat([0.0, 9.0], 40), "noise": random.normal(size=80), "same": 1})
    rows["leak"] += random.normal(0, 0.1, 80)
    model = genba.Classifier(trials=1, jobs=1).fit(rows, np.repeat(["no", "yes"], 40))
    assert [spec.name for spec in model.model_.manifest.inputs] == ["leak", "noise"]
    told = model.model_.guardrails.set_index("state").loc["alerted", "done"]
    assert "kept 'leak' as asked" in "; ".join(np.atleast_1d(told))


def test_parameters_are_those_of_the_constructor_and_are_cloned() -> None:
    model = genba.Classifier(budget="5m", miss_cost=3.0, random_state=4)
    other = clone(model).set_params(trials=9)
    assert other.get_params() == model.get_params() | {"trials": 9}
    assert repr(model) == "Classifier(budget='5m', miss_cost=3.0, random_state=4)"


def test_what_cannot_be_learned_is_a_value_error() -> None:
    with pytest.raises(ValueError, match=r"n_samples=8 .*at least 20 rows"):
        genba.Classifier(trials=1).fit(pd.DataFrame({"x": range(8)}), [0, 1] * 4)
    with pytest.raises(ValueError, match="budget: 'soon' is no length of time"):
        genba.Regressor(budget="soon").fit(pd.DataFrame({"x": range(30)}), range(30))
    with pytest.raises(ValueError, match="contains NaN"):
        genba.Regressor(trials=1).fit(np.ones((30, 2)), [np.nan] * 30)
