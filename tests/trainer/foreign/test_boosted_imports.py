"""Files of LightGBM, XGBoost and CatBoost: taken in with their columns and proven, or refused in one line."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from protocols.manifest import Manifest
from trainer.candidate import read_candidate
from trainer.errors import ImportRefusedError
from trainer.import_request import ImportRequest
from trainer.imports import import_file

pytestmark = pytest.mark.slow

catboost = pytest.importorskip("catboost", reason="CatBoost is not installed: pip install 'genba[boosting]'")
lightgbm = pytest.importorskip("lightgbm", reason="LightGBM is not installed: pip install 'genba[boosting]'")
xgboost = pytest.importorskip("xgboost", reason="XGBoost is not installed: pip install 'genba[boosting]'")

SENSORS = ["Torque [Nm]", "Air temp. (°C); line 1/2", "wear"]
#: Names that each of the libraries takes.
PLAIN = ["torque", "air temp", "wear"]
QUIET = {"verbose": -1, "n_jobs": 1}
CAT = {"verbose": 0, "allow_writing_files": False, "iterations": 20, "thread_count": 1}


@pytest.fixture
def table(plant: pd.DataFrame) -> pd.DataFrame:
    return plant.rename(columns=dict(zip(SENSORS, PLAIN, strict=True)))[[*PLAIN, "yield", "fault"]]


def take(file: Path, sample: pd.DataFrame, **given: Any) -> Manifest:
    out = file.parent / "out"
    manifest = import_file(ImportRequest(file, sample, "foreign", **given), out, lambda text, share: None)
    assert read_candidate(out) == manifest
    assert manifest.parity.passed
    assert {case.name for case in manifest.parity.cases} >= {"held-out", "missing", "edges"}
    return manifest


def _lightgbm(folder: Path, rows: pd.DataFrame, target: Any, *, classes: bool) -> Path:
    made = (lightgbm.LGBMClassifier if classes else lightgbm.LGBMRegressor)(n_estimators=20, **QUIET)
    made.fit(rows, target).booster_.save_model(folder / "m.txt")
    return folder / "m.txt"


def _xgboost(folder: Path, rows: pd.DataFrame, target: Any, *, classes: bool) -> Path:
    made = (xgboost.XGBClassifier if classes else xgboost.XGBRegressor)(n_estimators=20, n_jobs=1)
    made.fit(rows, target).save_model(folder / "m.ubj")
    return folder / "m.ubj"


def _catboost(folder: Path, rows: pd.DataFrame, target: Any, *, classes: bool) -> Path:
    made = (catboost.CatBoostClassifier if classes else catboost.CatBoostRegressor)(**CAT)
    made.fit(rows, target).save_model(str(folder / "m.cbm"))
    return folder / "m.cbm"


FILES = pytest.mark.parametrize("save", [_lightgbm, _xgboost, _catboost], ids=["lightgbm", "xgboost", "catboost"])


@pytest.mark.sample
@FILES
def test_a_regression_is_taken_with_its_columns_by_name(
    tmp_path: Path, table: pd.DataFrame, save: Callable[..., Path]
) -> None:
    file = save(tmp_path, table[PLAIN], table["yield"], classes=False)
    manifest = take(file, table[["fault", "wear", "yield", "air temp", "torque"]], target="yield")
    assert [spec.name for spec in manifest.inputs] == PLAIN
    assert manifest.metrics["rmse"] < 1.5


@FILES
def test_a_classifier_without_names_takes_the_samples_columns_in_order(
    tmp_path: Path, table: pd.DataFrame, save: Callable[..., Path]
) -> None:
    bad = (table["fault"] == "bad").astype(int)
    file = save(tmp_path, table[PLAIN].to_numpy(), bad, classes=True)
    manifest = take(file, table[PLAIN].assign(bad=bad), target="bad")
    assert manifest.classes == ("0", "1")
    assert manifest.metrics["accuracy"] > 0.85
    (tmp_path / "out").rename(tmp_path / "earlier")
    with pytest.raises(ImportRefusedError, match="takes 3 columns and the sample has 2 without its target"):
        take(file, table[PLAIN[:2]].assign(bad=bad), target="bad")


@FILES
def test_a_sample_without_a_column_is_refused(tmp_path: Path, table: pd.DataFrame, save: Callable[..., Path]) -> None:
    file = save(tmp_path, table[PLAIN], table["yield"], classes=False)
    with pytest.raises(ImportRefusedError, match="needs the column 'wear', which --sample does not have; it has"):
        take(file, table[["torque", "air temp", "yield"]], target="yield")
    with pytest.raises(ImportRefusedError, match="column 'wear' of the sample is text"):
        take(file, table[["torque", "air temp", "yield"]].assign(wear="new"), target="yield")


@FILES
def test_half_a_file_is_refused_in_one_line(tmp_path: Path, table: pd.DataFrame, save: Callable[..., Path]) -> None:
    file = save(tmp_path, table[PLAIN], table["yield"], classes=False)
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(ImportRefusedError, match=file.name) as caught:
        take(file, table, target="yield")
    assert "\n" not in str(caught.value)


def test_an_estimator_in_a_pickle_keeps_its_labels(tmp_path: Path, table: pd.DataFrame) -> None:
    for made in (lightgbm.LGBMClassifier(n_estimators=10, **QUIET), catboost.CatBoostClassifier(**CAT)):
        joblib.dump(made.fit(table[PLAIN], table["fault"]), tmp_path / "m.joblib")
        manifest = take(tmp_path / "m.joblib", table.drop(columns="yield"), target="fault", trusted=True)
        assert manifest.classes == ("bad", "good")
        (tmp_path / "out").rename(tmp_path / type(made).__name__)


def test_categories_are_refused_with_what_to_do(tmp_path: Path, table: pd.DataFrame) -> None:
    table["grade"] = np.where(table["wear"] > 100, "worn", "new")
    columns = [*PLAIN, "grade"]
    catboost.CatBoostRegressor(cat_features=["grade"], **CAT).fit(table[columns], table["yield"]).save_model(
        str(tmp_path / "m.cbm")
    )
    coded = table.assign(grade=table["grade"].astype("category"))
    lightgbm.LGBMRegressor(**QUIET).fit(coded[columns], coded["yield"]).booster_.save_model(tmp_path / "m.txt")
    xgboost.XGBRegressor(n_estimators=5, enable_categorical=True).fit(coded[columns], coded["yield"]).save_model(
        tmp_path / "m.json"
    )
    sample = table.assign(grade=0)
    for name in ("m.cbm", "m.txt", "m.json"):
        with pytest.raises(ImportRefusedError, match="encode it in a scikit-learn pipeline before the model") as caught:
            take(tmp_path / name, sample, target="yield")
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "made",
    [
        lambda: lightgbm.LGBMClassifier(n_estimators=10, **QUIET),
        lambda: catboost.CatBoostClassifier(**CAT),
        lambda: lightgbm.LGBMRegressor(n_estimators=10, **QUIET),
        lambda: xgboost.XGBRegressor(n_estimators=10, n_jobs=1),
    ],
    ids=["lightgbm classes", "catboost classes", "lightgbm", "xgboost"],
)
def test_a_pipeline_that_encodes_before_a_boosted_model_is_taken(
    tmp_path: Path, plant: pd.DataFrame, made: Callable[[], Any]
) -> None:
    rows = plant.fillna({"grade, cut": ""}).astype(dict.fromkeys(SENSORS, np.float32))
    steps = [("n", SimpleImputer(), SENSORS), ("t", OneHotEncoder(handle_unknown="ignore"), ["grade, cut"])]
    model = make_pipeline(ColumnTransformer(steps, sparse_threshold=0), made())
    target = "fault" if hasattr(model[-1], "predict_proba") else "yield"
    joblib.dump(model.fit(rows[[*SENSORS, "grade, cut"]], rows[target]), tmp_path / "m.joblib")
    manifest = take(tmp_path / "m.joblib", rows, target=target, trusted=True)
    assert [spec.name for spec in manifest.inputs] == [*SENSORS, "grade, cut"]
    assert manifest.classes == (("bad", "good") if target == "fault" else ())
