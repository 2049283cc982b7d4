"""Rows as usual: held-out ones alone, however few a release has, and never the made-up rows that prove it."""

import io
from pathlib import Path

import numpy as np
import onnx
import pandas as pd
import pytest
from onnx import TensorProto, helper

from protocols.manifest import Manifest
from protocols.recipe import Member, Recipe
from trainer.candidate import read_candidate
from trainer.errors import CandidateError
from trainer.explain.explained_rows import read_rows, usual_columns
from trainer.explain.explanation import explain
from trainer.families import FAMILIES, Shape
from trainer.golden import HELD_OUT, held_out_rows
from trainer.graphs import followed_output, open_graph, run_graph, to_feed
from trainer.import_request import ImportRequest
from trainer.imports import import_file
from trainer.request import TrainRequest
from trainer.search.preparation import prepare
from trainer.train import train


def golden_rows(folder: Path) -> int:
    with np.load(folder / "golden.npz") as arrays:
        return len(arrays["input_0"])


def test_of_a_small_table_base_and_contributions_come_from_held_out_rows_alone(
    plant: pd.DataFrame, tmp_path: Path
) -> None:
    table = plant.head(60).drop(columns="fault")
    parameters = dict(FAMILIES["linear"].starts(Shape("regression", 48, 4, 0))[0])
    recipe = Recipe((Member("linear", parameters, {}, 1.0, (0,)),))
    request = TrainRequest(table, "yield", "small", recipe=recipe, workers=1)
    folder = tmp_path / "small"
    manifest = train(request, folder)
    prepared = prepare(request)
    features, held_out = prepared.checked.features, prepared.division.held_out
    assert len(held_out) < 32 < golden_rows(folder)
    table.head(5).to_csv(tmp_path / "rows.csv", index=False)
    rows = read_rows(folder, manifest, tmp_path / "rows.csv", None)
    assert len(rows.usual) == len(held_out)
    for column, feature in zip(rows.columns, features, strict=True):
        assert column.values[rows.usual].tolist() == pytest.approx(feature.values[held_out].tolist(), nan_ok=True)
    session = open_graph((folder / "model.onnx").read_bytes())
    found = explain(session, rows.columns, rows.asked, rows.usual, lambda: False, walks=2 * len(held_out))
    every = followed_output(run_graph(session, to_feed(features))).astype(np.float64)
    assert found.base == pytest.approx(np.full(5, every[held_out].mean()), abs=1e-4)
    # A linear model's contribution of a number is its slope times what the row has more than the held-out rows.
    torque = [column.name for column in rows.columns].index("Torque [Nm]")
    values = rows.columns[torque].values
    more = values[rows.asked] - values[rows.usual].mean()
    slopes = found.contributions[:, torque] / more
    assert slopes == pytest.approx(np.full(5, slopes[0]), rel=1e-3)
    assert slopes[0] == pytest.approx(0.4, abs=0.1)


@pytest.fixture
def root_of_a_number(tmp_path: Path) -> tuple[Path, Manifest]:
    """An imported model that has no answer to some of its sample's 25 rows: the root of a number, some below zero."""
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 1])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 1])
    graph = helper.make_graph([helper.make_node("Sqrt", ["x"], ["y"])], "root", [x], [y])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, tmp_path / "root.onnx")
    sample = pd.DataFrame({"x": np.arange(25, dtype=np.float32) - 5})
    out = tmp_path / "root"
    import_file(ImportRequest(tmp_path / "root.onnx", sample, "root"), out, lambda text, share: None)
    return out, read_candidate(out)


def test_rows_that_were_left_out_of_the_proof_do_not_make_room_for_made_up_ones(
    root_of_a_number: tuple[Path, Manifest],
) -> None:
    folder, manifest = root_of_a_number
    (found,) = usual_columns(folder, manifest)
    assert found.values.tolist() == list(range(20))
    assert golden_rows(folder) > 20


def test_of_a_release_that_does_not_tell_how_many_no_made_up_row_is_taken(
    root_of_a_number: tuple[Path, Manifest],
) -> None:
    folder, manifest = root_of_a_number
    with np.load(folder / "golden.npz") as arrays:
        assert int(arrays[HELD_OUT]) == 20
        before = {name: arrays[name] for name in arrays.files if name != HELD_OUT}
    write(folder, before)
    (found,) = usual_columns(folder, manifest)
    assert found.values.tolist() == list(range(len(found.values)))
    assert 10 <= len(found.values) <= 20
    assert held_out_rows(manifest, 1, None) == 0


def test_where_no_held_out_row_is_left_the_error_says_what_to_give(root_of_a_number: tuple[Path, Manifest]) -> None:
    folder, manifest = root_of_a_number
    write(folder, {"input_0": np.zeros((4, 1), np.float32), "output_0": np.zeros((4, 1), np.float32), HELD_OUT: 0})
    with pytest.raises(CandidateError, match="no rows as usual; give --background FILE"):
        usual_columns(folder, manifest)


def test_golden_vectors_from_which_nothing_was_left_out_say_nothing_of_it(
    regression_candidate: tuple[Path, Manifest],
) -> None:
    folder, manifest = regression_candidate
    with np.load(folder / "golden.npz") as arrays:
        assert HELD_OUT not in arrays.files
    assert {len(column.values) for column in usual_columns(folder, manifest)} == {32}


def write(folder: Path, arrays: dict[str, object]) -> None:
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    (folder / "golden.npz").write_bytes(file.getvalue())
