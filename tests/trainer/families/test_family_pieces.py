"""Each family's piece is its model: on missing values, at thresholds and their float32 neighbours, in bags."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import pytest
from simulators.first_settings import first_settings

from trainer.families import FAMILIES, Parameters, Rows, Shape
from trainer.families.rounds import GAIN, ByRounds, Stall
from trainer.fitting import one_thread
from trainer.graph.builder import FLOAT, GraphBuilder
from trainer.graph.encoded import Array
from trainer.graphs import open_graph
from trainer.pieces import Piece, TreePiece, bag
from trainer.pieces.trees import LEAF_BYTES, LOOKED_UP_AT_ONCE, VALUE_BYTES
from trainer.search.calibration import apply_temperature, fit_temperature

WIDTH, ROWS = 4, 300


@pytest.fixture(autouse=True)
def alone() -> Iterator[None]:
    """As in a worker."""
    with one_thread():
        yield


def table(classes: int, seed: int, *, missing: bool) -> Rows:
    random = np.random.default_rng(seed)
    matrix = random.normal(0, 1, (ROWS, WIDTH)).astype(np.float32)
    matrix[:, 3] = random.integers(0, 3, ROWS)
    score = matrix[:, 0] + np.abs(matrix[:, 1]) + (matrix[:, 3] == 1) + random.normal(0, 0.2, ROWS)
    target = np.digitize(score, [0.7, 1.8][: classes - 1]) if classes else score.astype(np.float64)
    if missing:
        matrix[random.random(matrix.shape) < 0.1] = np.nan
    return Rows(matrix, target)


def shape_of(classes: int) -> Shape:
    return Shape("classification" if classes else "regression", ROWS, WIDTH, classes)


def settings_of(name: str, shape: Shape) -> Sequence[Parameters]:
    """The first settings of a family; a test skips where it has none."""
    settings = first_settings(name, shape)
    if not settings:
        pytest.skip(f"{name} is no family for this task, or is not installed")
    return settings


def result_of(piece: Piece, matrix: Array) -> Array:
    builder = GraphBuilder([("matrix", FLOAT)], width=WIDTH)
    builder.output(piece.write(builder, "matrix"), "result", FLOAT, ["rows", "outputs"])
    found: Array = open_graph(builder.finish()).run(None, {"matrix": matrix})[0]
    return found


def hard_rows(pieces: list[Piece], rows: Rows, *, missing: bool) -> Array:
    """Rows of the table, and such that stand on a threshold, or on a float32 number beside it."""
    random = np.random.default_rng(0)
    made = [rows.matrix[:60]]
    for piece in pieces:
        if not isinstance(piece, TreePiece):
            continue
        inner = np.flatnonzero(~piece.leaf)
        for node in inner[random.permutation(len(inner))[:60]]:
            edge = np.float32(piece.threshold[node])
            with np.errstate(over="ignore"):  # CatBoost asks for missing values by the lowest number there is
                near = [edge, np.nextafter(edge, np.float32(np.inf)), np.nextafter(edge, np.float32(-np.inf))]
            row = np.tile(rows.matrix[random.integers(ROWS)], (3, 1))
            row[:, piece.feature[node]] = near
            made.append(row)
    if missing:
        gone = np.full((WIDTH + 1, WIDTH), np.nan, np.float32)
        gone[np.arange(WIDTH), np.arange(WIDTH)] = 0.0  # one number each, and a row without any
        made.append(gone)
    return np.concatenate(made)


@pytest.mark.parametrize("classes", [0, 2, 3])
@pytest.mark.parametrize("name", FAMILIES)
def test_a_piece_and_bags_of_it_give_what_the_models_give(name: str, classes: int) -> None:
    family = FAMILIES[name]
    shape = shape_of(classes)
    missing = family.matrix == "raw"
    models: list[Any] = []
    settings = settings_of(name, shape)
    parameters = settings[0]
    for seed in range(3):
        rows = table(classes, seed, missing=missing)
        settled = {**family.prepare(parameters, rows, shape, seed), "rounds": 20}
        model = family.fit(parameters, settled, rows, None, shape, seed)
        models += family.settle([model], settled)[0]
    pieces = [model.piece() for model in models]
    hard = hard_rows(pieces, rows, missing=missing)
    wanted = [model.predict(hard) for model in models]
    for many in (1, 2, 3):
        found = result_of(bag(pieces[:many]), hard)
        assert found.shape == (len(hard), shape.outputs)
        np.testing.assert_allclose(found, np.mean(wanted[:many], axis=0), atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("classes", [0, 3])
@pytest.mark.parametrize("name", [name for name, family in FAMILIES.items() if family.several_fits])
def test_where_several_fits_are_made_they_differ(name: str, classes: int) -> None:
    family, rows = FAMILIES[name], table(classes, 1, missing=False)
    shape = shape_of(classes)
    settings = settings_of(name, shape)
    for parameters in settings:
        settled = {**family.prepare(parameters, rows, shape, 0), "rounds": 20}
        first, other = (family.fit(parameters, settled, rows, None, shape, seed) for seed in (0, 1))
        assert not np.array_equal(first.predict(rows.matrix), other.predict(rows.matrix)), parameters


def test_a_batch_looks_up_no_more_at_once_than_memory_bears() -> None:
    trees, width = 2000, 3
    values = np.random.default_rng(0).random((2 * trees, width)).astype(np.float32)
    none, nodes = np.zeros(3 * trees, dtype=np.int64), np.arange(3 * trees)
    piece = TreePiece(
        nodes[::3], none, none.astype(np.float32), none + 1, none + 2, none == 1, nodes % 3 > 0,
        np.insert(values, np.arange(0, 2 * trees, 2), 0.0, axis=0), nodes[:trees] * 0, np.zeros(width), "none",
    )  # fmt: skip
    matrix = np.random.default_rng(1).normal(size=(4, WIDTH)).astype(np.float32)
    side = (matrix[:, :1] > 0).astype(int)
    wanted = np.where(side, values[1::2].sum(axis=0), values[0::2].sum(axis=0))
    np.testing.assert_allclose(result_of(piece, matrix), wanted, rtol=1e-4)
    builder = GraphBuilder([("matrix", FLOAT)], width=WIDTH)
    piece.write(builder, "matrix")
    each = [attribute.i for node in builder._nodes for attribute in node.attribute if attribute.name == "n_targets"]
    assert sum(each) == trees
    assert max(each) * (LEAF_BYTES + VALUE_BYTES * width) <= LOOKED_UP_AT_ONCE


def lone_leaf(values: list[float]) -> TreePiece:
    """A tree without a question."""
    none, width = np.zeros(1, dtype=np.int64), len(values)
    return TreePiece(
        none, none, np.zeros(1, np.float32), none, none, none == 1, none == 0, np.array([values], np.float32), none,
        np.arange(width, dtype=np.float64), "none",
    )  # fmt: skip


@pytest.mark.parametrize("classes", [0, 2, 3])
@pytest.mark.parametrize("name", ["lightgbm", "catboost", "forest"])
def test_trees_are_the_same_in_one_operator_and_in_several(
    name: str, classes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    family = FAMILIES[name]
    shape = shape_of(classes)
    settings = settings_of(name, shape)
    rows = table(classes, 1, missing=True)
    model = family.fit(settings[0], {"rounds": 20}, rows, None, shape, 1)
    piece = bag([model.piece(), model.piece()])
    whole = result_of(piece, rows.matrix)
    monkeypatch.setattr("trainer.pieces.trees.LOADED_AT_ONCE", 5000)
    builder = GraphBuilder([("matrix", FLOAT)], width=WIDTH)
    builder.output(piece.write(builder, "matrix"), "result", FLOAT, ["rows", "outputs"])
    graph = onnx.load_from_string(builder.finish())
    assert sum(node.op_type == "TreeEnsemble" for node in graph.graph.node) >= 3
    np.testing.assert_allclose(result_of(piece, rows.matrix), whole, atol=1e-5)


@pytest.mark.parametrize("values", [[3.0], [1.0, 2.0, 5.0]])
def test_a_tree_may_be_a_lone_leaf(values: list[float]) -> None:
    matrix = table(0, 1, missing=True).matrix
    wanted = np.tile(np.array(values) + np.arange(len(values)), (ROWS, 1))
    np.testing.assert_allclose(result_of(lone_leaf(values), matrix), wanted)
    np.testing.assert_allclose(result_of(bag([lone_leaf(values)] * 2), matrix), wanted)


@pytest.mark.parametrize("at_once", [2, 10**9])
def test_a_lone_leaf_may_stand_among_trees(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainer.pieces.trees.LOADED_AT_ONCE", at_once)
    rows = table(0, 1, missing=True)
    shape = shape_of(0)
    settings = first_settings("boosted", shape)[0]
    model = FAMILIES["boosted"].fit(settings, {"rounds": 2}, rows, None, shape, 0)
    grown, leaf = model.piece(), lone_leaf([6.0])
    wanted = (model.predict(rows.matrix) * 2 + 6.0) / 4  # the mean of four sums, one of them 6 and one nothing more
    pieces = [leaf, grown, replace(leaf, values=np.zeros((1, 1), np.float32)), grown]
    np.testing.assert_allclose(result_of(bag(pieces), rows.matrix), wanted, rtol=1e-5)


@pytest.mark.parametrize("classes", [0, 3])
@pytest.mark.parametrize("name", FAMILIES)
def test_the_same_settings_and_rows_give_the_same_piece(name: str, classes: int) -> None:
    family, rows = FAMILIES[name], table(classes, 1, missing=False)
    shape = shape_of(classes)
    settings = settings_of(name, shape)

    def graph() -> bytes:
        settled = {**family.prepare(settings[0], rows, shape, 5), "rounds": 20}
        (model,), _ = family.settle([family.fit(settings[0], settled, rows, None, shape, 5)], settled)
        builder = GraphBuilder([("matrix", FLOAT)], width=WIDTH)
        builder.output(model.piece().write(builder, "matrix"), "result", FLOAT, ["rows", "outputs"])
        return builder.finish()

    assert graph() == graph()


def test_boosting_ends_where_the_patience_gains_hardly_anything() -> None:
    stall = Stall(10)
    steady = [0.99**number for number in range(40)]
    assert not any(stall.after(loss) for loss in steady)
    slow = [steady[-1] * (1 - GAIN / 20) ** number for number in range(1, 40)]
    ended = [stall.after(loss) for loss in slow]
    assert ended.index(True) == pytest.approx(10, abs=2)
    assert not Stall(10).after(1.0)


@pytest.mark.parametrize("name", [name for name, family in FAMILIES.items() if isinstance(family, ByRounds)])
def test_boosted_families_stop_when_the_validation_rows_say_so(name: str) -> None:
    family, rows = FAMILIES[name], table(0, 1, missing=False)
    shape = shape_of(0)
    settings = settings_of(name, shape)
    noise = Rows(rows.matrix, np.random.default_rng(5).normal(0, 1, ROWS))
    model = family.fit({**settings[0], "learning_rate": 0.3}, {}, rows, noise, shape, 0)
    assert 1 <= len(model.curve) < 200
    (settled,), found = family.settle([model], {})
    assert settled.rounds == found["rounds"] == int(model.curve.argmin()) + 1


def test_a_temperature_takes_back_what_is_too_certain_and_leaves_what_is_right() -> None:
    random = np.random.default_rng(0)
    share = random.uniform(0.05, 0.95, 4000)
    truth = (random.random(4000) < share).astype(np.int64)
    right = np.stack([1 - share, share], axis=1)
    assert fit_temperature(right, truth) == 1.0
    certain = apply_temperature(right, 0.5)
    assert fit_temperature(certain, truth) == pytest.approx(2.0, rel=0.1)
    np.testing.assert_allclose(apply_temperature(certain, 2.0), right, atol=1e-9)
