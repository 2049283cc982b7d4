"""Models of other makers: taken in and proven, or refused in one line."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import onnx
import pandas as pd
import pytest
from onnx import TensorProto, helper
from simulators.bad_graphs import BAD, hungry_matrix, outside, put_weights
from simulators.small_models import crashing_regression
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import SVC

from protocols.manifest import Manifest, ParityCase, ParityCertificate, Tolerance
from protocols.onnx_file import read_onnx
from trainer.candidate import read_candidate
from trainer.errors import ImportRefusedError, MissingColumnError, ParityError
from trainer.import_request import ImportRequest
from trainer.imports import import_file
from trainer.parity import check_certificate

SENSORS = ["Torque [Nm]", "Air temp. (°C); line 1/2", "wear"]


@pytest.fixture
def whole(plant: pd.DataFrame) -> pd.DataFrame:
    """Rows without a missing value."""
    return plant.dropna().reset_index(drop=True)


def take(tmp_path: Path, name: str, sample: pd.DataFrame, **given: Any) -> Manifest:
    out = tmp_path / "out"
    request = ImportRequest(tmp_path / name, sample, "foreign", **given)
    manifest = import_file(request, out, lambda text, share: None)
    assert read_candidate(out) == manifest
    assert manifest.parity.passed
    return manifest


def test_a_graph_with_a_matrix_input(tmp_path: Path, whole: pd.DataFrame) -> None:
    model = Ridge().fit(whole[SENSORS].to_numpy(np.float32), whole["yield"])
    graph = to_onnx(model, initial_types=[("X", FloatTensorType([None, 3]))], target_opset={"": 17, "ai.onnx.ml": 3})
    (tmp_path / "m.onnx").write_bytes(graph.SerializeToString())
    manifest = take(tmp_path, "m.onnx", whole[[*SENSORS, "yield"]], target="yield")
    assert [spec.name for spec in manifest.inputs] == SENSORS
    assert manifest.task == "regression"
    assert manifest.metrics["rmse"] < 3


def test_a_classifier_with_a_zipmap(tmp_path: Path, whole: pd.DataFrame) -> None:
    model = LogisticRegression(max_iter=1000).fit(whole[SENSORS].to_numpy(np.float32), whole["fault"])
    graph = to_onnx(model, initial_types=[("X", FloatTensorType([None, 3]))], target_opset={"": 17, "ai.onnx.ml": 3})
    assert any(node.op_type == "ZipMap" for node in graph.graph.node)
    (tmp_path / "m.onnx").write_bytes(graph.SerializeToString())
    manifest = take(tmp_path, "m.onnx", whole[SENSORS])
    assert manifest.classes == ("bad", "good")
    assert manifest.metrics == {}
    assert "ai.onnx.ml.ZipMap" not in manifest.operators


def test_a_graph_with_named_columns(tmp_path: Path, whole: pd.DataFrame) -> None:
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, 1]) for name in ("wear", "Torque [Nm]")]
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 1])
    graph = helper.make_graph([helper.make_node("Add", ["wear", "Torque [Nm]"], ["y"])], "g", inputs, [output])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "m.onnx")
    manifest = take(tmp_path, "m.onnx", whole)
    assert [spec.name for spec in manifest.inputs] == ["wear", "Torque [Nm]"]


def pipeline_with_columns(*, imputed: bool = True) -> Any:
    numbers = make_pipeline(SimpleImputer(), StandardScaler()) if imputed else StandardScaler()
    steps = [("n", numbers, SENSORS), ("t", OneHotEncoder(handle_unknown="ignore"), ["grade, cut"])]
    return make_pipeline(ColumnTransformer(steps), RandomForestClassifier(10, random_state=0))


@pytest.mark.parametrize(
    ("made", "columns", "target"),
    [
        (pipeline_with_columns, [*SENSORS, "grade, cut"], "fault"),
        (lambda: make_pipeline(StandardScaler(), LogisticRegression()), SENSORS, "fault"),
        (lambda: HistGradientBoostingRegressor(max_iter=20), SENSORS, "yield"),
    ],
)
def test_a_trusted_pipeline(
    tmp_path: Path, whole: pd.DataFrame, made: Callable[[], Any], columns: list[str], target: str
) -> None:
    frame = whole[columns].astype(dict.fromkeys(SENSORS, np.float32))
    joblib.dump(made().fit(frame, whole[target]), tmp_path / "m.joblib")
    manifest = take(tmp_path, "m.joblib", whole, target=target, trusted=True)
    assert [spec.name for spec in manifest.inputs] == columns
    assert manifest.metrics


def test_a_forest_that_treats_missing_values_otherwise_than_its_graph_is_refused(
    tmp_path: Path, whole: pd.DataFrame
) -> None:
    columns = [*SENSORS, "grade, cut"]
    frame = whole[columns].astype(dict.fromkeys(SENSORS, np.float32))
    joblib.dump(pipeline_with_columns(imputed=False).fit(frame, whole["fault"]), tmp_path / "m.joblib")
    with pytest.raises(ParityError, match=r"on missing rows.* by an imputer"):
        take(tmp_path, "m.joblib", whole, trusted=True)
    assert not (tmp_path / "out").exists()


def test_a_pickle_is_not_loaded_without_trust(tmp_path: Path, whole: pd.DataFrame) -> None:
    ran = tmp_path / "ran"

    class Bomb:
        def __reduce__(self) -> Any:
            return (Path.touch, (ran,))

    joblib.dump(Bomb(), tmp_path / "m.joblib")
    with pytest.raises(ImportRefusedError, match="add --trust"):
        take(tmp_path, "m.joblib", whole)
    assert not ran.exists()


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("m", r"unknown kind \(no ending\); taken in are ONNX \(\.onnx\), scikit-learn"),
        ("m.tflite", "TensorFlow Lite model: convert the Keras model"),
        ("m.keras", r"no whole \.keras file"),
        ("m.skops", r"no whole \.skops file"),
        ("m.pt2", r"no whole \.pt2 file"),
        ("m.pt", "no whole PyTorch file"),
        ("m.h5", "is not an HDF5 file"),
        ("m.lgb", "is not a LightGBM model, which begins with the line 'tree'"),
        ("m.json", "is not an XGBoost model in JSON"),
        ("m.cbm", "is not a CatBoost model"),
        ("folder/x", r"folder without saved_model\.pb or MLmodel; taken in are"),
    ],
)
def test_a_file_that_is_not_what_its_ending_says_is_named(
    tmp_path: Path, whole: pd.DataFrame, name: str, says: str
) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(ImportRefusedError, match=says) as caught:
        take(tmp_path, name.removesuffix("/x"), whole)
    assert "\n" not in str(caught.value)


def test_what_cannot_be_taken_in_is_one_clear_line(tmp_path: Path, whole: pd.DataFrame) -> None:
    (tmp_path / "m.onnx").write_bytes(b"not a graph")
    joblib.dump(SVC().fit(whole[SENSORS], whole["fault"]), tmp_path / "svc.joblib")
    joblib.dump({"a": 1}, tmp_path / "dict.joblib")
    joblib.dump(Ridge().fit(whole[SENSORS], whole["yield"]), tmp_path / "ridge.joblib")
    for name, sample, given, says in [
        ("none.onnx", whole, {}, "does not exist"),
        ("m.onnx", whole, {}, "not a valid ONNX model"),
        ("svc.joblib", whole, {"trusted": True}, "without predict_proba"),
        ("dict.joblib", whole, {"trusted": True}, "holds a dict"),
        ("ridge.joblib", whole.drop(columns="wear"), {"trusted": True}, "needs the column 'wear'"),
        ("ridge.joblib", whole.head(5), {"trusted": True}, "at least 20"),
    ]:
        with pytest.raises(ImportRefusedError) as caught:
            take(tmp_path, name, sample, **given)
        assert says in str(caught.value)
        assert "\n" not in str(caught.value)
    with pytest.raises(MissingColumnError):
        take(tmp_path, "ridge.joblib", whole, trusted=True, target="none")


def _ridge(tmp_path: Path, whole: pd.DataFrame) -> None:
    model = Ridge().fit(whole[SENSORS].to_numpy(np.float32), whole["yield"])
    graph = to_onnx(model, initial_types=[("X", FloatTensorType([None, 3]))], target_opset={"": 17, "ai.onnx.ml": 3})
    (tmp_path / "m.onnx").write_bytes(graph.SerializeToString())


def test_rows_with_a_missing_value_are_left_out_of_the_figures(tmp_path: Path, whole: pd.DataFrame) -> None:
    _ridge(tmp_path, whole)
    table = whole[[*SENSORS, "yield"]].copy()
    table.loc[3, "wear"] = np.nan
    manifest = take(tmp_path, "m.onnx", table, target="yield")
    assert manifest.metrics["rmse"] < 3
    assert np.isfinite(manifest.parity.tolerance.absolute)
    assert f"the model answers 1 of {len(table)} rows or windows with NaN" in (tmp_path / "out/report.json").read_text()
    (tmp_path / "out").rename(tmp_path / "earlier")
    with pytest.raises(ImportRefusedError, match="answers the whole sample with NaN"):
        take(tmp_path, "m.onnx", table.assign(wear=np.nan), target="yield")


@pytest.mark.parametrize("name", ["m.onnx", "m.joblib"])
def test_text_among_the_numbers_of_a_sample_is_named(tmp_path: Path, whole: pd.DataFrame, name: str) -> None:
    _ridge(tmp_path, whole)
    joblib.dump(Ridge().fit(whole[SENSORS], whole["yield"]), tmp_path / "m.joblib")
    table = whole[[*SENSORS, "yield"]].astype({"wear": object})
    table.loc[3, "wear"] = "abc"
    with pytest.raises(
        ImportRefusedError, match="row 4 of the sample has 'abc' in column 'wear', and the model takes a"
    ):
        take(tmp_path, name, table, target="yield", trusted=True)


def test_a_graph_that_differs_from_an_imported_model_is_told_in_its_words() -> None:
    cases = (ParityCase("held-out", 20, 2.0, 1.0, 0, False),)
    with pytest.raises(
        ParityError, match="the release's graph differs from the model on the sample's rows: by up to 2"
    ):
        check_certificate(ParityCertificate(Tolerance(0.1, 0.1), cases, "1"), imported=True)


@pytest.mark.parametrize(("make", "says"), BAD)
def test_a_file_that_no_device_could_run_is_refused_in_one_line(
    tmp_path: Path, whole: pd.DataFrame, make: Callable[[], bytes], says: str
) -> None:
    (tmp_path / "m.onnx").write_bytes(make())
    with pytest.raises(ImportRefusedError, match=f"m.onnx is not a valid ONNX model: .*{says}") as caught:
        take(tmp_path, "m.onnx", whole)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_weights_in_a_file_beside_the_model_are_taken_in(tmp_path: Path, whole: pd.DataFrame) -> None:
    table = whole.rename(columns={"wear": "AT", "Torque [Nm]": "V"})
    (tmp_path / "m.onnx").write_bytes(outside("weights.bin"))
    with pytest.raises(ImportRefusedError, match=r"'weights\.bin', which is not beside it"):
        take(tmp_path, "m.onnx", table)
    put_weights(tmp_path, "weights.bin")
    manifest = take(tmp_path, "m.onnx", table)
    assert read_onnx((tmp_path / "out" / "model.onnx").read_bytes()).external == ()
    assert [spec.name for spec in manifest.inputs] == ["AT", "V"]


def test_weights_that_a_link_takes_outside_are_not_read(tmp_path: Path, whole: pd.DataFrame) -> None:
    (tmp_path / "secret").mkdir()
    put_weights(tmp_path / "secret", "weights.bin")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "m.onnx").write_bytes(outside("weights.bin"))
    (tmp_path / "model" / "weights.bin").symlink_to(tmp_path / "secret" / "weights.bin")
    with pytest.raises(ImportRefusedError, match="outside the model's folder, and are not read"):
        take(tmp_path, "model/m.onnx", whole)


def test_a_model_that_asks_for_memory_without_end_is_refused_in_one_line(tmp_path: Path, whole: pd.DataFrame) -> None:
    onnx.save(hungry_matrix(1e13), tmp_path / "m.onnx")
    with pytest.raises(ImportRefusedError, match=r"asks for more than \d+ MiB of memory on the sample") as caught:
        take(tmp_path, "m.onnx", whole[SENSORS[:2]])
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_model_that_crashes_its_process_is_refused_in_one_line(tmp_path: Path, whole: pd.DataFrame) -> None:
    onnx.save(crashing_regression(), tmp_path / "m.onnx")
    table = whole.rename(columns={"wear": "AT", "Torque [Nm]": "V"})
    with pytest.raises(ImportRefusedError, match=r"kills the process that runs it \(SIGSEGV\)"):
        take(tmp_path, "m.onnx", table)


def test_a_graph_that_a_device_could_not_feed_is_refused(tmp_path: Path, whole: pd.DataFrame) -> None:
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [None, 3, 8, 8])
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 3, 8, 8])
    graph = helper.make_graph([helper.make_node("Relu", ["image"], ["y"])], "g", [image], [output])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "m.onnx")
    with pytest.raises(ImportRefusedError, match="do not match the sample's columns"):
        take(tmp_path, "m.onnx", whole)
