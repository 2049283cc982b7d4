"""Contributions in the graph: they are the fitted model's own parts, also on missing and unseen values."""

from typing import Any

import numpy as np
import onnx
import pytest
from simulators.sklearn_pipelines import build_featurizer, fit_quietly, matrix_columns, to_frame
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import Pipeline

from protocols.manifest import Contributions
from trainer.cases import UNSEEN
from trainer.columns import Column
from trainer.contributions import add_contributions
from trainer.errors import NotAdditiveError
from trainer.explanation import explain
from trainer.export import export_pipeline
from trainer.fitting import one_thread
from trainer.graphs import followed_output, open_graph, run_graph, to_feed

Array = np.ndarray[Any, Any]

NAMES = ("Torque [Nm]", "parts/means", "grade", "idle")
BOOSTED: dict[str, Any] = {"max_iter": 40, "interaction_cst": "no_interactions", "early_stopping": False}


def columns(rows: int = 400) -> list[Column]:
    random = np.random.default_rng(2)
    torque = random.normal(40, 8, rows).astype(np.float32)
    torque[::17] = np.nan
    return [
        Column(NAMES[0], "number", torque),
        Column(NAMES[1], "number", random.uniform(0, 1, rows).astype(np.float32)),
        Column(NAMES[2], "category", random.choice(np.array(["a", "b", "加工", ""], dtype=object), rows)),
        Column(NAMES[3], "number", np.zeros(rows, dtype=np.float32)),
    ]


def score(features: list[Column]) -> Array:
    torque = np.nan_to_num(features[0].values, nan=30.0)
    return np.asarray(0.1 * (torque - 40) + features[1].values + (features[2].values == "a"), dtype=np.float32)


def target(features: list[Column], kind: str) -> Array:
    values = score(features)
    if kind == "number":
        return values
    labels = np.array(["good", "bad", "scrap"] if kind == "three" else ["good", "bad"], dtype=object)
    cuts = [0.5, 1.5] if kind == "three" else [1.3]
    return np.asarray(labels[np.digitize(values, cuts)])


def fitted(model: Any, kind: str) -> tuple[Pipeline, list[Column]]:
    features = columns()
    frame = to_frame(features)
    featurizer = build_featurizer(frame, scaled=hasattr(model, "C") or hasattr(model, "alpha"))
    pipeline = Pipeline([("featurizer", featurizer), ("model", clone(model))])
    with one_thread():
        return fit_quietly(pipeline, frame, target(features, kind)), features


def with_contributions(pipeline: Pipeline, features: list[Column]) -> tuple[bytes, bytes, Contributions]:
    plain = export_pipeline(pipeline, NAMES, [column.kind for column in features])
    matrix = pipeline[0].transform(to_frame(features))
    graph, told = add_contributions(plain, pipeline[-1], matrix_columns(pipeline[0]), len(NAMES), matrix)
    return plain, graph, told


def hard_rows(features: list[Column]) -> list[Column]:
    """The first rows as they are, then with a missing or unseen value in each column by turns."""
    spoilt = []
    for place, column in enumerate(features):
        values = column.values[:60].copy()
        values[10 + place :: 8] = UNSEEN if column.kind == "category" else 1e6
        values[12 + place :: 9] = "" if column.kind == "category" else np.nan
        spoilt.append(Column(column.name, column.kind, values))
    return spoilt


MODELS = {
    "boosted number": (HistGradientBoostingRegressor(**BOOSTED), "number"),
    "boosted two": (HistGradientBoostingClassifier(**BOOSTED), "two"),
    "boosted three": (HistGradientBoostingClassifier(**BOOSTED), "three"),
    "ridge": (Ridge(), "number"),
    "logistic two": (LogisticRegression(max_iter=500), "two"),
    "logistic three": (LogisticRegression(max_iter=500), "three"),
}


def margins(pipeline: Pipeline, features: list[Column]) -> Array:
    frame = to_frame(features)
    found = pipeline.predict(frame) if not hasattr(pipeline, "classes_") else pipeline.decision_function(frame)
    return np.asarray(found, dtype=np.float64)


@pytest.mark.parametrize("name", MODELS)
def test_base_and_contributions_are_the_models_own_sum(name: str) -> None:
    pipeline, features = fitted(*MODELS[name])
    _, graph, told = with_contributions(pipeline, features)
    session, rows = open_graph(graph), hard_rows(features)
    *_, found = run_graph(session, to_feed(rows))
    assert (found.dtype, found.shape) == (np.float32, (60, len(NAMES)))
    want = margins(pipeline, rows)
    if told.unit == "score":
        assert (len(told.base), told.of) == (3, None)
        places = followed_output(run_graph(session, to_feed(rows))).argmax(axis=1)
        want, base = want[np.arange(60), places], np.array(told.base)[places]
    else:
        base = np.full(60, told.base[0])
        if told.unit == "log-odds":
            assert told.of == "bad"
            want = -want if pipeline.classes_[0] == "bad" else want
    np.testing.assert_allclose(base + found.sum(axis=1), want, rtol=1e-4, atol=2e-4)
    assert np.abs(found).max() > 0.1
    np.testing.assert_array_equal(found[:, 3] if "boosted" in name else 0, 0)


@pytest.mark.parametrize("name", MODELS)
def test_what_the_graph_predicts_stays_as_it_was(name: str) -> None:
    pipeline, features = fitted(*MODELS[name])
    plain, graph, _ = with_contributions(pipeline, features)
    before, after = (run_graph(open_graph(data), to_feed(hard_rows(features))) for data in (plain, graph))
    assert len(after) == len(before) + 1
    for one, two in zip(before, after, strict=False):
        np.testing.assert_array_equal(one, two)
    np.testing.assert_array_equal(followed_output(before), followed_output(after))
    assert [entry.name for entry in onnx.ModelProto.FromString(graph).graph.output][-1] == "contributions"


def test_missing_values_that_reach_the_trees_go_where_the_model_sends_them() -> None:
    features = columns()[:2]
    frame, truth = to_frame(features), np.nan_to_num(features[0].values, nan=20.0)
    through = ColumnTransformer([("numbers", "passthrough", ["c0", "c1"])])
    model = HistGradientBoostingRegressor(**BOOSTED)
    pipeline = fit_quietly(Pipeline([("through", through), ("model", model)]), frame, truth)
    plain = export_pipeline(pipeline, NAMES[:2], ["number", "number"])
    graph, told = add_contributions(plain, pipeline[-1], matrix_columns(pipeline[0]), 2, pipeline[0].transform(frame))
    *_, found = run_graph(open_graph(graph), to_feed(features))
    np.testing.assert_allclose(told.base[0] + found.sum(axis=1), pipeline.predict(frame), rtol=1e-4, atol=2e-4)


def test_they_are_the_shapley_values_of_the_sum() -> None:
    pipeline, features = fitted(*MODELS["boosted number"])
    _, graph, _ = with_contributions(pipeline, features)
    rows, everything = np.arange(20), np.arange(400)
    session = open_graph(graph)
    *_, found = run_graph(session, to_feed(features, rows))
    sampled = explain(session, features, rows, everything[::4], lambda: False, walks=100)
    np.testing.assert_allclose(found, sampled.contributions, atol=0.15)
    assert np.abs(found - sampled.contributions).mean() < 0.03


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (HistGradientBoostingRegressor(max_iter=20), "more than one raw column"),
        (HistGradientBoostingRegressor(loss="poisson", **BOOSTED), "loss 'poisson'"),
    ],
)
def test_a_model_that_is_no_sum_is_refused(model: Any, words: str) -> None:
    features = columns()
    frame = to_frame(features)
    pipeline = Pipeline([("featurizer", build_featurizer(frame, scaled=False)), ("model", model)])
    pipeline.fit(frame, score(features) * features[1].values + np.float32(5.0))
    with pytest.raises(NotAdditiveError, match=words):
        with_contributions(pipeline, features)


def test_a_column_called_as_the_output_is_refused() -> None:
    pipeline, features = fitted(*MODELS["ridge"])
    plain = export_pipeline(pipeline, ["contributions", *NAMES[1:]], [column.kind for column in features])
    with pytest.raises(NotAdditiveError, match="rename the column"):
        add_contributions(plain, pipeline[-1], matrix_columns(pipeline[0]), 4, np.zeros((1, 7)))


def test_a_model_that_learned_nothing_contributes_nothing() -> None:
    features = columns()
    model = HistGradientBoostingRegressor(max_iter=2, min_samples_leaf=390, interaction_cst="no_interactions")
    frame = to_frame(features)
    pipeline = Pipeline([("featurizer", build_featurizer(frame, scaled=False)), ("model", model)])
    pipeline.fit(frame, score(features))
    _, graph, told = with_contributions(pipeline, features)
    prediction, found = run_graph(open_graph(graph), to_feed(features))
    assert not found.any()
    assert told.base[0] == pytest.approx(float(prediction[0, 0]), abs=1e-5)
