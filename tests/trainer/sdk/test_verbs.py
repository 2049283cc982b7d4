"""The trainer's verbs in Python: `import genba` trains, loads, imports and reproduces, with the command's options."""

import gc
import inspect
import tempfile
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType
from sklearn.linear_model import LinearRegression

import genba
from protocols.manifest import Manifest
from trainer.cli import _train_parser
from trainer.errors import ImportRefusedError, RequestError, TooFewRowsError

#: Options of the command that have another name in Python.
RENAMED = {"data": "table", "help": None}


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary folders are made."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def test_every_option_of_the_command_is_a_keyword() -> None:
    options = {RENAMED.get(action.dest, action.dest) for action in _train_parser()._actions} - {None}
    assert options <= set(inspect.signature(genba.train).parameters)


def test_the_front_door_teaches_models_to_publish(
    class_candidate: tuple[Path, Manifest], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = genba.load(class_candidate[0])
    with pytest.raises(genba.GenbaError, match="token"):
        model.publish("http://127.0.0.1:9", token="")
    monkeypatch.setattr("trainer.sdk.registries._Known.registries", None)
    with pytest.raises(RequestError, match="import genba"):
        model.publish()


def test_a_model_lasts_as_long_as_its_object(plant: pd.DataFrame, temporary: Path) -> None:
    told: list[tuple[str, float]] = []
    model = genba.train(
        plant, "fault", model="plant-fault", drop="yield", trials=1, jobs=1, max_size="2MB", false_alarm_cost=1,
        miss_cost=5, positive="bad", progress=lambda text, share: told.append((text, share)),
    )  # fmt: skip
    assert told[-1] == ("done", 1.0)
    assert model.score(plant) > 0.7
    assert model.manifest.lineage.drop == ("yield",)
    assert [path.name for path in temporary.glob("genba-model-*")] == [model.folder.parent.name]
    del model
    gc.collect()
    assert list(temporary.iterdir()) == []


def test_a_refused_run_leaves_nothing(plant: pd.DataFrame, temporary: Path) -> None:
    with pytest.raises(TooFewRowsError):
        genba.train(plant.head(10), "fault", progress=False)
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"budget": "soon"}, "budget: 'soon' is no length of time"),
        ({"max_size": "big"}, "max_size: 'big' is no size"),
        ({"max_latency": "2 weeks"}, "max_latency: '2 weeks' is no latency"),
        ({"miss_cost": 3.0}, "belong together"),
        ({"device": "raspberry-pi-4"}, "device 'raspberry-pi-4' needs a registry"),
    ],
)
def test_an_option_that_cannot_be_read_is_named(
    plant: pd.DataFrame, options: dict[str, Any], problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GENBA_REGISTRY", raising=False)
    with pytest.raises(RequestError, match=problem):
        genba.train(plant, "fault", **options)


def test_a_candidate_is_loaded_reproduced_and_chosen_again(plant: pd.DataFrame, tmp_path: Path) -> None:
    plant.to_csv(tmp_path / "plant.csv", index=False)
    model = genba.train(tmp_path / "plant.csv", "yield", out=tmp_path / "out", trials=1, jobs=1, progress=False)
    assert model.folder == tmp_path / "out"
    loaded = genba.load(str(tmp_path / "out"))
    assert loaded.manifest == model.manifest
    del model
    gc.collect()
    found = genba.reproduce(loaded, tmp_path / "plant.csv", progress=False)
    assert found.digest == loaded.manifest.digest
    entry = int(loaded.front.index[loaded.front["chosen"]][0])
    again = genba.choose(loaded, entry, tmp_path / "plant.csv", progress=False)
    assert again.manifest.digest == loaded.manifest.digest
    assert again.front.equals(loaded.front)
    cards = [one.report.card for one in (again, loaded)]
    readable = [card.interpretable for card in cards if card is not None]
    assert readable == [readable[0]] * 2 != [None] * 2


def test_a_foreign_model_is_imported(many_rows: pd.DataFrame, tmp_path: Path) -> None:
    sample = many_rows[["Torque [Nm]", "yield"]]
    fitted = LinearRegression().fit(sample[["Torque [Nm]"]].to_numpy(), sample["yield"])
    types = [("Torque [Nm]", FloatTensorType([None, 1]))]
    graph = to_onnx(fitted, initial_types=types, target_opset={"": 17, "ai.onnx.ml": 3})
    (tmp_path / "line.onnx").write_bytes(graph.SerializeToString())
    model = genba.import_model(
        tmp_path / "line.onnx", sample, model="plant", target="yield", author="the plant", progress=False
    )
    assert model.manifest.author == "the plant"
    assert np.allclose(model.predict(many_rows), fitted.predict(sample[["Torque [Nm]"]].to_numpy()), atol=1e-3)
    assert model.leaderboard.empty
    assert model.front.empty
    assert len(model.plots) == 0
    assert "plant" in model.card._repr_html_()


def test_a_file_that_runs_code_is_loaded_with_a_warning_where_it_was_asked_for(
    many_rows: pd.DataFrame, tmp_path: Path
) -> None:
    sample = many_rows[["Torque [Nm]", "yield"]]
    file = tmp_path / "line.joblib"
    joblib.dump(LinearRegression().fit(sample[["Torque [Nm]"]], sample["yield"]), file)
    options: dict[str, Any] = {"model": "plant", "target": "yield", "progress": False}
    with pytest.raises(ImportRefusedError, match="add --trust"):
        genba.import_model(file, sample, **options)
    with pytest.warns(UserWarning, match=r"line\.joblib runs the code of whoever made it") as caught:
        model = genba.import_model(file, sample, trust=True, **options)
    assert [warning.filename for warning in caught] == [__file__]
    assert model.manifest.metrics["rmse"] < 10


def test_a_file_that_can_hold_no_code_is_loaded_without_a_warning(many_rows: pd.DataFrame, tmp_path: Path) -> None:
    sample = many_rows[["Torque [Nm]"]]
    fitted = LinearRegression().fit(sample.to_numpy(), many_rows["yield"])
    types = [("Torque [Nm]", FloatTensorType([None, 1]))]
    graph = to_onnx(fitted, initial_types=types, target_opset={"": 17, "ai.onnx.ml": 3})
    (tmp_path / "line.onnx").write_bytes(graph.SerializeToString())
    genba.import_model(tmp_path / "line.onnx", sample, model="plant", trust=True, progress=False)


def test_a_file_is_scored(class_candidate: tuple[Path, Manifest], many_rows: pd.DataFrame, tmp_path: Path) -> None:
    many_rows.to_csv(tmp_path / "rows.csv", index=False)
    model = genba.load(class_candidate[0])
    done = genba.score(model, tmp_path / "rows.csv", tmp_path / "scored.parquet", keep=["wear"])
    scored = pd.read_parquet(tmp_path / "scored.parquet")
    assert done.written == len(many_rows)
    assert scored["prediction"].tolist() == model.predict(many_rows).tolist()
    assert "wear" in scored.columns
