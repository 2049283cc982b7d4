"""Graphs of boosted models answer as the models do: with missing values, at their thresholds, early stopped."""

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest

from trainer.errors import ExportError
from trainer.foreign.boosted_graphs import convert_boosted
from trainer.graphs import open_graph

catboost = pytest.importorskip("catboost", reason="CatBoost is not installed: pip install 'genba[boosting]'")
lightgbm = pytest.importorskip("lightgbm", reason="LightGBM is not installed: pip install 'genba[boosting]'")
xgboost = pytest.importorskip("xgboost", reason="XGBoost is not installed: pip install 'genba[boosting]'")
pytest.importorskip("onnxmltools", reason="onnxmltools is not installed: pip install 'genba[boosting]'")

Array = np.ndarray[Any, Any]
COLUMNS = 5
QUIET = {"verbose": -1, "n_jobs": 1}
CAT = {"verbose": 0, "allow_writing_files": False, "iterations": 40, "thread_count": 1}


def readings(*, holes: bool = True, rows: int = 600) -> tuple[Array, Array]:
    """Return rows (float32) around 0 and far from it, one value in ten missing, and a target."""
    random = np.random.default_rng(5)
    table = random.normal([0, 10, -10, 0, 1000], [1, 2, 2, 3, 90], (rows, COLUMNS)).astype(np.float32)
    target = table @ np.array([1, 2, -1, 0.5, 0.01]) + random.normal(0, 0.3, rows)
    if holes:
        table[random.random(table.shape) < 0.1] = np.nan
    return table, target


def edges(model: Any, table: Array) -> Array:
    """Return rows that lie exactly at the model's thresholds, and at their neighbours in float32."""
    graph = convert_boosted(model, COLUMNS)
    tree = next(node for node in graph.graph.node if node.op_type.startswith("TreeEnsemble"))
    attributes = {attribute.name: attribute for attribute in tree.attribute}
    places = attributes["nodes_featureids"].ints
    exact = np.array(attributes["nodes_values"].floats, dtype=np.float32)
    made = []
    with np.errstate(over="ignore"):
        around = np.column_stack(
            [exact, np.nextafter(exact, np.float32(-np.inf)), np.nextafter(exact, np.float32(np.inf))]
        )
    for column, values in zip(places, around, strict=True):
        for value in values:
            row = table[len(made) % len(table)].copy()
            row[column] = value
            made.append(row)
    return np.array(made[:3000], dtype=np.float32)


def answers(graph: onnx.ModelProto, rows: Array) -> list[Array]:
    assert [entry.name for entry in graph.graph.input] == ["X"]
    onnx.checker.check_model(graph)
    found: list[Array] = open_graph(graph.SerializeToString()).run(None, {"X": rows})
    return found


REGRESSIONS: dict[str, Callable[[], Any]] = {
    "lightgbm": lambda: lightgbm.LGBMRegressor(n_estimators=40, **QUIET),
    "lightgbm l1": lambda: lightgbm.LGBMRegressor(n_estimators=40, objective="l1", **QUIET),
    "lightgbm mape": lambda: lightgbm.LGBMRegressor(n_estimators=40, objective="mape", **QUIET),
    "lightgbm poisson": lambda: lightgbm.LGBMRegressor(n_estimators=40, objective="poisson", **QUIET),
    "lightgbm dart": lambda: lightgbm.LGBMRegressor(n_estimators=40, boosting_type="dart", **QUIET),
    "lightgbm forest": lambda: lightgbm.LGBMRegressor(
        n_estimators=40, boosting_type="rf", subsample=0.5, subsample_freq=1, **QUIET
    ),
    "xgboost": lambda: xgboost.XGBRegressor(n_estimators=40, n_jobs=1),
    "xgboost poisson": lambda: xgboost.XGBRegressor(n_estimators=40, objective="count:poisson", n_jobs=1),
    "xgboost base score": lambda: xgboost.XGBRegressor(n_estimators=5, base_score=700.0, n_jobs=1),
    "xgboost dart": lambda: xgboost.XGBRegressor(n_estimators=40, booster="dart", rate_drop=0.3, n_jobs=1),
    "catboost": lambda: catboost.CatBoostRegressor(**CAT),
    "catboost max": lambda: catboost.CatBoostRegressor(nan_mode="Max", **CAT),
}  # fmt: skip


@pytest.mark.parametrize("holes", [True, False], ids=["missing in training", "none missing in training"])
@pytest.mark.parametrize("made", REGRESSIONS.values(), ids=REGRESSIONS.keys())
def test_a_regression_answers_as_its_model(made: Callable[[], Any], holes: bool) -> None:
    table, target = readings(holes=holes)
    model = made().fit(table, target - min(target) + 1)
    rows = np.vstack([readings()[0], edges(model, table), np.full((1, COLUMNS), np.nan, np.float32)])
    found = answers(convert_boosted(model, COLUMNS), rows)[0]
    assert found.shape == (len(rows), 1)
    np.testing.assert_allclose(found[:, 0], model.predict(rows), rtol=2e-5, atol=2e-5)


CLASSIFIERS: dict[str, Callable[[], Any]] = {
    "lightgbm": lambda: lightgbm.LGBMClassifier(n_estimators=30, **QUIET),
    "xgboost": lambda: xgboost.XGBClassifier(n_estimators=30, n_jobs=1),
    "xgboost dart": lambda: xgboost.XGBClassifier(n_estimators=30, booster="dart", rate_drop=0.3, n_jobs=1),
    "catboost": lambda: catboost.CatBoostClassifier(**CAT),
}


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("holes", [True, False], ids=["missing in training", "none missing in training"])
@pytest.mark.parametrize("made", CLASSIFIERS.values(), ids=CLASSIFIERS.keys())
def test_a_classifier_answers_as_its_model(made: Callable[[], Any], holes: bool, classes: int) -> None:
    table, target = readings(holes=holes)
    labels = np.digitize(target, np.quantile(target, [0.7, 0.9][: classes - 1]))  # few of the last class
    model = made().fit(table, labels)
    rows = np.vstack([readings()[0], edges(model, table)])
    label, probabilities = answers(convert_boosted(model, COLUMNS), rows)
    want = model.predict_proba(rows)
    np.testing.assert_allclose(probabilities, want, rtol=1e-5, atol=2e-6)
    decided = np.ptp(np.sort(want, axis=1)[:, -2:], axis=1) > 1e-5
    assert np.array_equal(label[decided], np.ravel(model.predict(rows))[decided])


@pytest.mark.parametrize(
    "made",
    [
        lambda: lightgbm.LGBMClassifier(n_estimators=10, **QUIET),
        lambda: catboost.CatBoostClassifier(**CAT),
    ],
    ids=["lightgbm", "catboost"],
)
def test_text_labels_stay_text(made: Callable[[], Any]) -> None:
    table, target = readings()
    model = made().fit(table, np.where(target > np.median(target), "good", "bad"))
    label, _ = answers(convert_boosted(model, COLUMNS), table)
    assert np.array_equal(label, np.ravel(model.predict(table)))


def test_an_early_stopped_model_answers_with_its_best_rounds() -> None:
    table, target = readings()
    noise = np.random.default_rng(0).normal(0, 30, len(target))
    halves = [(table[:300], (target + noise)[:300]), (table[300:], (target + noise)[300:])]
    light = lightgbm.LGBMRegressor(n_estimators=300, **QUIET)
    light.fit(
        *halves[0], eval_X=halves[1][0], eval_y=halves[1][1], callbacks=[lightgbm.early_stopping(5, verbose=False)]
    )
    extreme = xgboost.XGBRegressor(n_estimators=300, early_stopping_rounds=5, n_jobs=1)
    extreme.fit(*halves[0], eval_set=[halves[1]], verbose=False)
    assert light.best_iteration_ < 100
    assert extreme.best_iteration < 100
    for model in (light, extreme):
        found = answers(convert_boosted(model, COLUMNS), table)[0]
        np.testing.assert_allclose(found[:, 0], model.predict(table), rtol=2e-5, atol=2e-5)


def test_converting_leaves_the_model_as_it_was() -> None:
    table, target = readings(holes=False)
    for name in ("lightgbm", "xgboost", "catboost"):
        model = REGRESSIONS[name]().fit(table, target)
        before = model.predict(table)
        first, second = (convert_boosted(model, COLUMNS).SerializeToString() for _ in range(2))
        assert first == second
        assert np.array_equal(model.predict(table), before)


def _zeros() -> Any:
    table, target = readings(holes=False)
    table[::3] = 0
    return lightgbm.LGBMRegressor(n_estimators=20, zero_as_missing=True, **QUIET).fit(table, target)


def _with_categories() -> Any:
    table, target = readings(holes=False)
    rows: list[list[Any]] = [[*row, str(place % 3)] for place, row in enumerate(table[:, :4].tolist())]
    return catboost.CatBoostRegressor(cat_features=[4], **CAT).fit(rows, target)


REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "zeros": (_zeros, "takes zeros for missing"),
    "categories": (_with_categories, "took the column '4' for categories"),
    "linear leaves": (
        lambda: lightgbm.LGBMRegressor(n_estimators=5, linear_tree=True, **QUIET).fit(*readings(holes=False)),
        "linear_tree=False",
    ),
    "one against all": (
        lambda: lightgbm.LGBMClassifier(n_estimators=5, objective="multiclassova", **QUIET).fit(
            readings()[0], np.arange(600) % 3
        ),
        "objective 'multiclassova' has no ONNX form",
    ),
    "a linear booster": (
        lambda: xgboost.XGBRegressor(booster="gblinear").fit(*readings(holes=False)),
        "fit one with booster='gbtree'",
    ),
    "another missing value": (
        lambda: xgboost.XGBRegressor(n_estimators=3, missing=-1.0).fit(*readings(holes=False)),
        "takes -1.0 for a missing value",
    ),
    "no boosted model": (lambda: object(), "is no model of LightGBM, XGBoost or CatBoost"),
}


@pytest.mark.parametrize(("made", "says"), REFUSED.values(), ids=REFUSED.keys())
@pytest.mark.filterwarnings("ignore::UserWarning")  # the libraries', on odd parameters
def test_what_has_no_faithful_form_is_refused_in_one_line(made: Callable[[], Any], says: str) -> None:
    with pytest.raises(ExportError, match=says) as caught:
        convert_boosted(made(), COLUMNS)
    assert "\n" not in str(caught.value)
