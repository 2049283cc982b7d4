"""Contributions of what the search fits: its additive and linear models as pieces of the released graph."""

from typing import Any

import numpy as np
import pytest

from trainer.additive import parts_of
from trainer.blend import Blend, Part, write_graph
from trainer.blend_contributions import contribute
from trainer.columns import Column
from trainer.encoded import Array, encode
from trainer.errors import NotAdditiveError
from trainer.explanation import explain
from trainer.families import FAMILIES, Rows, Shape
from trainer.featurizer import Featurizer, fit_featurizer
from trainer.graphs import followed_output, open_graph, run_graph, to_feed
from trainer.pieces import bag
from trainer.targets import Target

NAMES = ("Torque [Nm]", "speed", "grade")


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
    labels = np.array(["bad", "good", "scrap"], dtype=object)[np.digitize(SCORE, [0.5, 1.2][: classes - 1])]
    return Target("y", "classification", labels, np.arange(400), ("bad", "good", "scrap")[:classes], 0, 0, {})


def fitted(family: str, classes: int, seed: int = 0) -> tuple[Any, Featurizer, Array]:
    one, wanted = FAMILIES[family], target(classes)
    truth = np.unique(wanted.values, return_inverse=True)[1] if classes else SCORE.astype(np.float64)
    featurizer, matrix = fit_featurizer(one.matrix, encode(FEATURES), truth, classes, 0)
    shape = Shape(wanted.task, 400, matrix.shape[1], classes)
    rows = Rows(matrix, truth)
    parameters = one.starts(shape)[0]
    settled = one.prepare(parameters, rows, shape, seed)
    model = one.fit(parameters, settled, rows, None, shape, seed)
    (settled_model,), _ = one.settle([model], settled)
    return settled_model.piece(), featurizer, matrix


@pytest.mark.parametrize("classes", [0, 2, 3])
@pytest.mark.parametrize("family", ["additive", "linear"])
def test_base_and_contributions_are_the_pieces_own_sum(family: str, classes: int) -> None:
    piece, featurizer, _ = fitted(family, classes)
    encoded, wanted, temperature = encode(FEATURES), target(classes), 1.3 if classes else 1.0
    blend = Blend((Part(1.0, FAMILIES[family].matrix, piece, ()),), temperature)
    plain = write_graph(blend, FEATURES, encoded, {FAMILIES[family].matrix: featurizer}, wanted)
    featurizers = {FAMILIES[family].matrix: featurizer}
    graph, told = contribute(plain, blend, featurizers, encoded, wanted.classes)
    assert told is not None
    outputs = run_graph(open_graph(graph), to_feed(FEATURES))
    found, output = outputs[-1], followed_output(outputs).astype(np.float64)
    np.testing.assert_array_equal(output, followed_output(run_graph(open_graph(plain), to_feed(FEATURES))))
    if classes == 3:
        place = output.argmax(axis=1)
        score = np.array(told.base)[place] + found.sum(axis=1)
        others = [np.log(output[:, other] / output.max(axis=1)) for other in range(3)]
        assert score.std() > 0.1
        assert (np.max(others, axis=0) <= 0).all()
        return
    total = told.base[0] + found.sum(axis=1)
    if classes:
        share = np.clip(output[:, wanted.classes.index(str(told.of))], 1e-5, 1 - 1e-5)
        sure = (share > 1e-3) & (share < 1 - 1e-3)
        np.testing.assert_allclose(total[sure], np.log(share / (1 - share))[sure], atol=2e-3)
    else:
        np.testing.assert_allclose(total, output, atol=1e-4)
    rows = np.arange(400)
    sampled = explain(open_graph(graph), FEATURES, rows[:50], rows, lambda: False, walks=100)
    place = [one.feature for one in sampled.importance]
    assert NAMES[int(np.abs(found).mean(axis=0).argmax())] == place[0]


def test_a_blend_of_several_and_one_that_is_no_sum_stay_as_they_are() -> None:
    boosted, additive = (fitted(family, 0) for family in ("boosted", "additive"))
    encoded = encode(FEATURES)
    for parts in ((1.0, boosted),), ((0.5, boosted), (0.5, additive)):
        blend = Blend(tuple(Part(weight, "raw", piece, ()) for weight, (piece, _, _) in parts))
        plain = write_graph(blend, FEATURES, encoded, {"raw": boosted[1]}, target(0))
        assert contribute(plain, blend, {"raw": boosted[1]}, encoded, ()) == (plain, None)


def test_a_bag_of_probabilities_is_no_sum() -> None:
    for family in ("additive", "linear"):
        piece, featurizer, _ = fitted(family, 2)
        with pytest.raises(NotAdditiveError, match="mean of several"):
            parts_of(bag([piece, piece]), featurizer.origins(encode(FEATURES)), 3)


def test_a_bag_of_predictions_is_a_sum() -> None:
    for family in ("additive", "linear"):
        piece, featurizer, _ = fitted(family, 0)
        origins = featurizer.origins(encode(FEATURES))
        alone, together = (parts_of(one, origins, 3) for one in (piece, bag([piece, piece])))
        assert together.base == pytest.approx(alone.base, abs=1e-5)


def test_trees_that_look_at_several_columns_are_no_sum() -> None:
    piece, featurizer, _ = fitted("boosted", 0)
    with pytest.raises(NotAdditiveError, match="more than one raw column"):
        parts_of(piece, featurizer.origins(encode(FEATURES)), 3)
