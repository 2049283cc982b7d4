"""skops files, MLflow folders, code inside files, and numbers that float32 does not hold."""

import json
import pickle
import zipfile
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
import skops.io
import yaml
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from protocols.manifest import Manifest
from trainer.errors import ImportRefusedError
from trainer.foreign.code_inside import code_in
from trainer.foreign.kinds import Found, recognise
from trainer.import_request import FeedingRequest, ImportRequest
from trainer.imports import import_file
from trainer.report import decode_report

SENSORS = ["Torque [Nm]", "Air temp. (°C); line 1/2", "wear"]


@pytest.fixture
def whole(plant: pd.DataFrame) -> pd.DataFrame:
    """Rows without a missing value."""
    return plant.dropna().reset_index(drop=True)


def take(file: Path, sample: pd.DataFrame, out: str = "out", **given: Any) -> Manifest:
    request = ImportRequest(file, sample, "foreign", **given)
    beside = (file if file.is_dir() else file.parent).parent
    manifest = import_file(request, beside / out, lambda text, share: None)
    assert manifest.parity.passed
    return manifest


def refused(file: Path, sample: pd.DataFrame, **given: Any) -> str:
    with pytest.raises(ImportRefusedError) as caught:
        take(file, sample, **given)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def floats(folder: Path) -> Any:
    report = decode_report((folder / "out" / "report.json").read_bytes())
    return next(rail for rail in report.guardrails if rail.check == "numbers in float32")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "given").mkdir()
    return tmp_path / "given"


def double(values: Any) -> Any:
    return values * 2


def test_a_skops_file_needs_no_trust(folder: Path, whole: pd.DataFrame) -> None:
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(whole[SENSORS], whole["fault"])
    skops.io.dump(model, folder / "m.skops")
    manifest = take(folder / "m.skops", whole[[*SENSORS, "fault"]], target="fault")
    assert manifest.classes == ("bad", "good")
    assert manifest.metrics["accuracy"] > 0.8


def test_a_skops_file_with_a_type_of_its_makers_names_it(folder: Path, whole: pd.DataFrame) -> None:
    skops.io.dump(
        make_pipeline(FunctionTransformer(double), Ridge()).fit(whole[SENSORS], whole["yield"]), folder / "m.skops"
    )
    said = refused(folder / "m.skops", whole)
    assert "double, which skops does not trust" in said
    assert "add --trust" in said


def mlflow_folder(folder: Path, flavours: dict[str, Any], columns: list[str] | None = None) -> Path:
    """Write an MLmodel file as MLflow 3.17 does."""
    inputs = json.dumps([{"type": "double", "name": name, "required": True} for name in columns or ()])
    document = {"flavors": flavours, "mlflow_version": "3.17.2", "signature": {"inputs": inputs, "outputs": "[]"}}
    (folder / "MLmodel").write_text(yaml.safe_dump(document, allow_unicode=True), "utf-8")
    return folder


SKOPS = {"sklearn": {"pickled_model": "model.skops", "serialization_format": "skops", "sklearn_version": "1.9.1"}}


def test_an_mlflow_folder_takes_the_columns_of_its_signature(folder: Path, whole: pd.DataFrame) -> None:
    skops.io.dump(Ridge().fit(whole[SENSORS].to_numpy(), whole["yield"]), folder / "model.skops")
    mlflow_folder(folder, {"python_function": {"loader_module": "mlflow.sklearn"}, **SKOPS}, SENSORS)
    manifest = take(folder, whole[["fault", *reversed(SENSORS), "yield"]], target="yield")
    assert [spec.name for spec in manifest.inputs] == SENSORS
    assert manifest.metrics["rmse"] < 3
    assert len(str(manifest.lineage.parameters["imported_sha256"])) == 64
    assert "needs the column 'wear'" in refused(folder, whole.drop(columns="wear"), target="yield", out="other")


def test_an_mlflow_folder_with_a_pickle_needs_trust(folder: Path, whole: pd.DataFrame) -> None:
    joblib.dump(Ridge().fit(whole[SENSORS], whole["yield"]), folder / "model.pkl")
    mlflow_folder(folder, {"sklearn": {"pickled_model": "model.pkl", "serialization_format": "cloudpickle"}})
    assert "model.pkl holds code: it is a pickle" in refused(folder, whole)
    assert take(folder, whole, trusted=True).task == "regression"


@pytest.mark.parametrize(
    ("flavours", "says"),
    [
        ({"prophet": {"data": "m"}}, "has the flavours prophet; taken in are onnx, lightgbm"),
        (SKOPS, "names the file 'model.skops', which is not there"),
        ({"onnx": {"data": "../secret.onnx"}}, "which is not in the folder"),
        ({"pytorch": {"model_data": "data"}}, "holds 0 models, and one is needed"),
        ({"catboost": {"data": "data", "save_format": "coreml"}}, "'coreml'; taken in is cbm"),
    ],
)
def test_an_mlflow_folder_that_cannot_be_used_says_why(
    folder: Path, whole: pd.DataFrame, flavours: dict[str, Any], says: str
) -> None:
    (folder / "data").mkdir()
    (folder.parent / "secret.onnx").write_bytes(b"x")
    assert says in refused(mlflow_folder(folder, flavours), whole)


@pytest.mark.parametrize("text", ["flavors: [", "- a", "!!python/object/apply:os.getcwd []"])
def test_an_mlmodel_file_that_is_none_is_one_line_and_runs_nothing(
    folder: Path, whole: pd.DataFrame, text: str
) -> None:
    (folder / "MLmodel").write_text(text)
    assert "MLmodel" in refused(folder, whole)


def archive(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        for name, data in members.items():
            file.writestr(name, data)
    return path


class Bomb:
    def __reduce__(self) -> Any:
        return (print, ("boom",))


LAMBDA = b'{"config": {"layers": [{"class_name": "Lambda", "config": {}}]}}'
SCRIPT = {"m/constants.pkl": b"\x80\x02).", "m/code/m.py": b"", "m/data.pkl": b"\x80\x02}."}


@pytest.mark.parametrize(
    ("name", "members", "says"),
    [
        ("m.keras", {"config.json": LAMBDA}, "has a Lambda layer"),
        ("m.keras", {"config.json": b"{}"}, None),
        ("m.pt", {"m/data.pkl": b"\x80\x02}."}, "pickled PyTorch module"),
        ("m.pt", SCRIPT, None),
        ("m.pt", {**SCRIPT, "m/data.pkl": pickle.dumps(Bomb(), 4)}, "a pickle in it calls builtins.print"),
        ("m.pt", {**SCRIPT, "m/data.pkl": b"\x80\x02ctorch.hub\nload\n)R."}, "calls torch.hub.load"),
        ("m.pt", {**SCRIPT, "m/data.pkl": b"\xff\xff"}, "a pickle that cannot be read"),
        ("m.pt2", {"m/archive_format": b"pt2", "m/data/w.pt": b"x"}, "w.pt is no archive of tensors but a bare pickle"),
    ],
)
def test_code_in_a_file_is_seen_without_loading_it(
    folder: Path, whole: pd.DataFrame, name: str, members: dict[str, bytes], says: str | None
) -> None:
    found = recognise(archive(folder / name, members))
    said = code_in(found)
    assert said is None if says is None else says in str(said)
    if says is not None:
        assert "add --trust" in refused(folder / name, whole)


def test_a_saved_model_that_reads_files_is_seen(tmp_path: Path) -> None:
    for content, says in ((b"\n\x08MatMul", None), (b"\n\x08ReadFile", "it has the operator ReadFile")):
        (tmp_path / "saved_model.pb").write_bytes(content)
        assert code_in(Found("saved-model", tmp_path)) == says


def test_whole_numbers_that_float32_does_not_hold_are_named(folder: Path, whole: pd.DataFrame) -> None:
    table = whole[["wear"]].assign(epoch=1_700_000_000 + np.arange(len(whole)) * 7)
    joblib.dump(make_pipeline(StandardScaler(), Ridge()).fit(table, whole["yield"]), folder / "m.joblib")
    take(folder / "m.joblib", table.assign(y=whole["yield"]), target="y", trusted=True)
    rail = floats(folder.parent)
    assert rail.state == "alerted"
    assert any("column 'epoch': " in line and "in float32, off by 6" in line for line in rail.seen)
    assert not any("'wear'" in line for line in rail.seen)


def test_a_threshold_between_two_float32_numbers_is_named(folder: Path) -> None:
    low = float(np.float32(0.1))  # above 0.1 itself
    table = pd.DataFrame({"x": [0.1, low] * 100, "z": np.arange(200.0)})
    model = HistGradientBoostingRegressor(min_samples_leaf=5, max_iter=30).fit(table, [0.0, 1.0] * 100)
    joblib.dump(model, folder / "m.joblib")
    take(folder / "m.joblib", table, trusted=True)
    lines = floats(folder.parent).seen
    assert "the model answers 0.0" in lines[0]
    assert "column 'x' holds 0.1, which is 0.10000000149011612 there, off by 1.5e-09; a threshold" in lines[0]
    assert lines[-1] == "95 more of 200 rows are answered otherwise in float32"


def test_numbers_that_float32_holds_pass(folder: Path, whole: pd.DataFrame) -> None:
    joblib.dump(Ridge().fit(whole[["wear"]], whole["yield"]), folder / "m.joblib")
    take(folder / "m.joblib", whole[["wear"]], trusted=True)
    assert floats(folder.parent).state == "passed"


def test_whole_numbers_in_a_window_are_looked_at_too(folder: Path) -> None:
    epochs = 1_700_000_000.0 + np.arange(60) * 7
    windows = np.column_stack([epochs[:-1], epochs[1:]])
    model = Ridge().fit(windows, np.arange(59.0))
    graph = to_onnx(model, initial_types=[("X", FloatTensorType([None, 2]))], target_opset={"": 17, "ai.onnx.ml": 3})
    (folder / "m.onnx").write_bytes(graph.SerializeToString())
    take(folder / "m.onnx", pd.DataFrame({"epoch": epochs}), feeding=FeedingRequest(window=2))
    assert "column 'epoch': " in floats(folder.parent).seen[0]
