"""Contributions of what the search fits: its additive and linear models as pieces of the released graph."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from simulators.first_settings import first_settings

from protocols.manifest import Contributions
from protocols.recipe import Member, Recipe
from trainer.cases import UNSEEN
from trainer.columns import Column
from trainer.errors import NotAdditiveError
from trainer.explain.explanation import explain
from trainer.families import FAMILIES, Rows, Shape
from trainer.graph.blend import Blend, Part, with_contributions, write_graph
from trainer.graph.builder import FLOAT, STRING, GraphBuilder
from trainer.graph.contributions import column_parts
from trainer.graph.encoded import Array, encode
from trainer.graph.featurizer import Featurizer, fit_featurizer
from trainer.graphs import followed_output, open_graph, run_graph, to_feed
from trainer.pieces import bag
from trainer.request import TrainRequest
from trainer.targets import Target
from trainer.train import train

SHAPE = Shape("regression", 400, 3, 0)
NAMES = ("Torque [Nm]", "speed", "grade")
LABELS = ("bad", "good", "scrap", "spoilt")
TEMPERATURE = 1.3


def columns(rows: int = 400) -> list[Column]:
    random = np.random.default_rng(2)
    torque = random.normal(0, 1, rows).astype(np.float32)
    torque[::17] = np.nan
    return [
        Column(NAMES[0], "number", torque),
        Column(NAMES[1], "number", random.uniform(0, 1, rows).astype(np.float32)),
        Column(NAMES[2], "category", random.choice(np.array(["a", "b", "加工", ""], dtype=object), rows)),
    ]


FEATURES = columns()
SCORE = np.nan_to_num(FEATURES[0].values, nan=-1.0) + FEATURES[1].values + (FEATURES[2].values == "a")


def target(classes: int) -> Target:
    if not classes:
        return Target("y", "regression", SCORE.astype(np.float32), np.arange(400), (), 0, 0, {})
    labels = np.array(LABELS, dtype=object)[np.digitize(SCORE, [0.5, 1.2, 1.8][: classes - 1])]
    return Target("y", "classification", labels, np.arange(400), LABELS[:classes], 0, 0, {})


@cache
def fitted(family: str, classes: int, seed: int = 0) -> tuple[Any, Featurizer, Array]:
    one, wanted = FAMILIES[family], target(classes)
    truth = np.unique(wanted.values, return_inverse=True)[1] if classes else SCORE.astype(np.float64)
    featurizer, matrix = fit_featurizer(one.matrix, encode(FEATURES), truth, classes, 0)
    shape = Shape(wanted.task, 400, matrix.shape[1], classes)
    rows = Rows(matrix, truth)
    parameters = first_settings(family, shape)[0]
    settled = one.prepare(parameters, rows, shape, seed)
    model = one.fit(parameters, settled, rows, None, shape, seed)
    (settled_model,), _ = one.settle([model], settled)
    return settled_model.piece(), featurizer, matrix


def blend_of(family: str, classes: int) -> tuple[Blend, Any]:
    """Return a fitted model as a blend that tells no contributions, and what its graph is written from."""
    piece, featurizer, _ = fitted(family, classes)
    blend = Blend((Part(1.0, FAMILIES[family].matrix, piece, ()),), TEMPERATURE if classes else 1.0)
    return blend, (FEATURES, encode(FEATURES), {FAMILIES[family].matrix: featurizer}, target(classes))


def telling(family: str, classes: int) -> tuple[Contributions, bytes, Callable[[Sequence[Column]], Array]]:
    """Return what the contributions are said to be, the graph that tells them, and the scores that they should explain.

    The scores are the model's own, without its link, of shape (rows, outputs).
    """
    plain, made = blend_of(family, classes)
    blend = with_contributions(plain, *made)
    assert blend.live is not None
    (featurizer,) = made[2].values()
    builder = GraphBuilder([(one.name, FLOAT if one.kind == "number" else STRING) for one in FEATURES])
    matrix = featurizer.write(builder, NAMES, made[1])
    model: Any = plain.parts[0].piece
    builder.output(replace(model, link="none").write(builder, matrix), "scores", FLOAT, ["rows", "outputs"])
    session = open_graph(builder.finish())

    def scores(rows: Sequence[Column]) -> Array:
        return run_graph(session, to_feed(rows))[0].astype(np.float64) / plain.temperature

    return blend.live.told, write_graph(blend, *made), scores


def softmax(score: Array) -> Array:
    exact = np.exp(score - score.max(axis=1, keepdims=True))
    return np.asarray(exact / exact.sum(axis=1, keepdims=True))


def exchanged(rows: Sequence[Column], some: Array, place: int) -> list[Column]:
    """Return each of some rows 400 times, with one column as each row of the table has it."""
    values = [np.repeat(column.values[some], 400) for column in rows]
    values[place] = np.tile(FEATURES[place].values, len(some))
    return [replace(column, values=each) for column, each in zip(rows, values, strict=True)]


def hard_rows() -> list[Column]:
    """Rows as they are, with a missing or unseen value in each column by turns."""
    spoilt = []
    for place, column in enumerate(FEATURES):
        values = column.values[:60].copy()
        values[10 + place :: 8] = UNSEEN if column.kind == "category" else 30.0
        values[12 + place :: 9] = "" if column.kind == "category" else np.nan
        spoilt.append(Column(column.name, column.kind, values))
    return spoilt


@pytest.mark.parametrize("hard", [False, True], ids=["rows of the table", "missing and unseen values"])
@pytest.mark.parametrize("classes", [0, 2])
@pytest.mark.parametrize("family", ["additive", "linear"])
def test_base_and_contributions_are_the_pieces_own_sum(family: str, classes: int, hard: bool) -> None:
    wanted, rows = target(classes), hard_rows() if hard else FEATURES
    told, graph, _ = telling(family, classes)
    outputs = run_graph(open_graph(graph), to_feed(rows))
    found, output = outputs[-1], followed_output(outputs).astype(np.float64)
    total = told.base[0] + found.sum(axis=1)
    if classes:
        share = np.clip(output[:, wanted.classes.index(str(told.of))], 1e-5, 1 - 1e-5)
        sure = (share > 1e-3) & (share < 1 - 1e-3)
        np.testing.assert_allclose(total[sure], np.log(share / (1 - share))[sure], atol=2e-3)
    else:
        np.testing.assert_allclose(total, output, atol=1e-4)
    if hard:
        return
    every = np.arange(400)
    sampled = explain(open_graph(graph), FEATURES, every[:50], every, lambda: False, walks=100)
    place = [one.feature for one in sampled.importance]
    assert NAMES[int(np.abs(found).mean(axis=0).argmax())] == place[0]


@pytest.mark.parametrize("hard", [False, True], ids=["rows of the table", "missing and unseen values"])
@pytest.mark.parametrize("family", ["additive", "linear"])
def test_of_several_classes_they_are_of_the_score_of_each_rows_own_answer(family: str, hard: bool) -> None:
    rows = hard_rows() if hard else FEATURES
    told, graph, scores = telling(family, 4)
    outputs = run_graph(open_graph(graph), to_feed(rows))
    found, output = outputs[-1], followed_output(outputs).astype(np.float64)
    every, answer = np.arange(len(output)), output.argmax(axis=1)
    assert (told.unit, set(answer)) == ("score", {0, 1, 2, 3})
    score = scores(rows)
    np.testing.assert_allclose(softmax(score), output, atol=2e-4)
    total = np.array(told.base)[answer] + found.sum(axis=1)
    np.testing.assert_allclose(total, score[every, answer], rtol=1e-4, atol=2e-3)
    # Of a sum, an input's Shapley value is what the score falls by where the input is as each usual row has it.
    some = every[::16]
    for place in range(len(rows)):
        usual = scores(exchanged(rows, some, place)).reshape(len(some), 400, 4).mean(axis=1)
        fallen = score[some, answer[some]] - usual[np.arange(len(some)), answer[some]]
        np.testing.assert_allclose(found[some, place], fallen, rtol=1e-3, atol=3e-3)


@pytest.mark.parametrize("classes", [0, 2, 4])
@pytest.mark.parametrize("family", ["additive", "linear"])
def test_answers_are_the_same_without_contributions(family: str, classes: int) -> None:
    without, made = blend_of(family, classes)
    blend = with_contributions(without, *made)
    plain, graph = write_graph(without, *made), write_graph(blend, *made)
    *outputs, found = run_graph(open_graph(graph), to_feed(hard_rows()))
    assert (found.dtype, found.shape) == (np.float32, (60, len(NAMES)))
    for before, after in zip(run_graph(open_graph(plain), to_feed(hard_rows())), outputs, strict=True):
        np.testing.assert_array_equal(before, after)


def test_a_blend_of_several_and_one_that_is_no_sum_tell_none() -> None:
    boosted, additive = (fitted(family, 0) for family in ("boosted", "additive"))
    for parts in ((1.0, boosted),), ((0.5, boosted), (0.5, additive)):
        blend = Blend(tuple(Part(weight, "raw", piece, ()) for weight, (piece, _, _) in parts))
        assert with_contributions(blend, FEATURES, encode(FEATURES), {"raw": boosted[1]}, target(0)) is blend


def test_a_column_called_as_the_output_leaves_the_output_out() -> None:
    piece, featurizer, _ = fitted("linear", 0)
    renamed = [replace(FEATURES[0], name="contributions"), *FEATURES[1:]]
    blend = Blend((Part(1.0, "scaled", piece, ()),))
    assert with_contributions(blend, renamed, encode(renamed), {"scaled": featurizer}, target(0)) is blend


def test_a_column_of_points_in_time_contributes_as_one(tmp_path: Path) -> None:
    at = pd.date_range("2026-01-05", periods=600, freq="h")
    load = np.random.default_rng(4).normal(size=600)
    output = 2.0 * load + 3.0 * (at.hour.to_numpy() >= 12) + np.random.default_rng(5).normal(0, 0.1, 600)
    table = pd.DataFrame({"at": at.strftime("%Y-%m-%d %H:%M:%S"), "load": load, "y": output})
    recipe = Recipe((Member("additive", dict(FAMILIES["additive"].starts(SHAPE)[0]), {}, 1.0, (0,)),))
    request = TrainRequest(table, "y", "line", recipe=recipe, validate="random", workers=1)
    manifest = train(request, tmp_path / "out")
    assert manifest.contributions is not None
    assert manifest.outputs[-1].shape == (None, 2)
    names, features = [spec.name for spec in manifest.inputs], {"at": table["at"].to_numpy(dtype=object), "load": load}
    feed = {name: features[name].astype(np.float32 if name == "load" else object).reshape(-1, 1) for name in names}
    prediction, found = open_graph((tmp_path / "out" / "model.onnx").read_bytes()).run(None, feed)
    np.testing.assert_allclose(manifest.contributions.base[0] + found.sum(axis=1), prediction[:, 0], atol=1e-3)
    assert found[:, names.index("at")].std() > 1.0


def test_a_bag_of_probabilities_is_no_sum() -> None:
    for family in ("additive", "linear"):
        piece, featurizer, _ = fitted(family, 2)
        with pytest.raises(NotAdditiveError, match="mean of several"):
            column_parts(bag([piece, piece]), featurizer.origins(encode(FEATURES)), 3)


def test_a_bag_of_predictions_is_a_sum() -> None:
    for family in ("additive", "linear"):
        piece, featurizer, _ = fitted(family, 0)
        origins = featurizer.origins(encode(FEATURES))
        alone, together = (column_parts(one, origins, 3) for one in (piece, bag([piece, piece])))
        assert together[1] == pytest.approx(alone[1], abs=1e-5)


def test_trees_that_look_at_several_columns_are_no_sum() -> None:
    piece, featurizer, _ = fitted("boosted", 0)
    with pytest.raises(NotAdditiveError, match="more than one raw column"):
        column_parts(piece, featurizer.origins(encode(FEATURES)), 3)
