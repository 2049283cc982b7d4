"""What a training run leaves on disk, and that the same run leaves the same."""

import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from protocols.errors import NameRefusedError
from protocols.manifest import Manifest, decode_manifest
from protocols.reference import decode_reference
from trainer.candidate import read_candidate
from trainer.errors import CandidateError, OutputRefusedError, RequestError
from trainer.graphs import open_graph
from trainer.report import decode_report, describe
from trainer.request import TrainRequest
from trainer.train import train

Candidate = tuple[Path, Manifest]


@pytest.fixture(params=["regression_candidate", "class_candidate"])
def candidate(request: pytest.FixtureRequest) -> Candidate:
    made: Candidate = request.getfixturevalue(request.param)
    return made


def test_the_folder_holds_a_release_candidate(candidate: Candidate) -> None:
    out, manifest = candidate
    names = {"release.json", "golden.npz", "reference", "model.onnx", "report.json", "card.md", "card.html"}
    assert {path.name for path in out.iterdir()} == names
    assert read_candidate(out) == manifest == decode_manifest((out / "release.json").read_bytes())
    assert manifest.version == 0
    assert set(manifest.files) == {"golden.npz", "reference", "model.onnx"}
    assert manifest.inputs[0].unit == "Nm"
    assert set(manifest.inputs[3].categories or ()) == {"L", "M", "H", "加工"}
    assert manifest.lineage.trials == 3
    assert manifest.lineage.cut_short is False
    assert manifest.footprint.memory_bytes > 0
    assert 0 < manifest.footprint.latency_p50_ms <= manifest.footprint.latency_p99_ms
    assert manifest.opset["ai.onnx"] == 17
    assert any("TreeEnsemble" in name or name == "MatMul" for name in manifest.operators)


def test_the_golden_vectors_are_reproduced(candidate: Candidate) -> None:
    out, manifest = candidate
    session = open_graph((out / "model.onnx").read_bytes())
    with np.load(io.BytesIO((out / "golden.npz").read_bytes()), allow_pickle=False) as golden:
        inputs = [golden[f"input_{index}"] for index in range(len(manifest.inputs))]
        wanted = [golden[f"output_{index}"] for index in range(len(manifest.outputs))]
    assert [entry.name for entry in session.get_inputs()] == [spec.name for spec in manifest.inputs]
    feed = {
        spec.name: values.astype(object) if spec.dtype == "string" else values
        for spec, values in zip(manifest.inputs, inputs, strict=True)
    }
    assert 40 <= len(wanted[0]) <= 64
    assert any(np.isnan(values).any() for values in inputs if values.dtype == np.float32)
    for got, want in zip(session.run(None, feed), wanted, strict=True):
        assert got.shape == want.shape
        assert (got == want).all()


def test_the_reference_sketches_every_input_and_output(candidate: Candidate) -> None:
    out, manifest = candidate
    profile = decode_reference((out / "reference").read_bytes())
    assert profile.rows == 240
    assert {*profile.numeric, *profile.categories} == {spec.name for spec in manifest.inputs}
    assert profile.numeric["wear"].missing == 20
    expected = {f"probability_{name}" for name in manifest.classes} or {"prediction"}
    assert set(profile.outputs) == expected


def test_the_importance_names_raw_columns_and_directions(regression_candidate: Candidate) -> None:
    _, manifest = regression_candidate
    assert {one.feature for one in manifest.importance} == {spec.name for spec in manifest.inputs}
    top = {one.feature: one.direction for one in manifest.importance[:2]}
    assert top == {"Torque [Nm]": "rises", "wear": "falls"}
    assert manifest.importance[-1].feature == "Air temp. (°C); line 1/2"


def test_the_summary_tells_a_person(candidate: Candidate) -> None:
    out, manifest = candidate
    text = describe(decode_report((out / "report.json").read_bytes()), manifest)
    for part in ("data checks", "leaderboard", "parity", "what drives the prediction", manifest.digest):
        assert part in text


def test_the_same_request_gives_the_same_model(
    regression_candidate: Candidate, plant: pd.DataFrame, tmp_path: Path
) -> None:
    _, first = regression_candidate
    request = TrainRequest(plant, "yield", "plant-yield", budget_s=30, drop=("fault",), trials=3, seed=7)
    assert train(request, tmp_path / "again").digest == first.digest


def test_the_number_of_workers_changes_nothing(
    regression_candidate: Candidate, plant: pd.DataFrame, tmp_path: Path
) -> None:
    _, first = regression_candidate
    request = TrainRequest(plant, "yield", "plant-yield", budget_s=30, drop=("fault",), trials=3, seed=7, workers=1)
    assert train(request, tmp_path / "again").digest == first.digest


def test_a_clock_that_runs_out_still_leaves_a_proven_model(plant: pd.DataFrame, tmp_path: Path) -> None:
    ticks = iter(range(0, 100_000, 10))
    request = TrainRequest(plant, "yield", "plant", budget_s=20, drop=("fault",))
    manifest = train(request, tmp_path / "out", timer=lambda: float(next(ticks)))
    assert manifest.lineage.trials >= 1
    assert manifest.parity.passed


def test_an_earlier_candidate_is_replaced_when_asked_and_nothing_else_is(plant: pd.DataFrame, tmp_path: Path) -> None:
    request = TrainRequest(plant, "yield", "plant", budget_s=30, drop=("fault",), trials=1)
    out = tmp_path / "out"
    train(request, out)
    before = (out / "release.json").read_bytes()
    with pytest.raises(OutputRefusedError, match=r"a candidate of 'plant' \(rmse [\d.]+, made 20.*--force"):
        train(request, out)
    assert (out / "release.json").read_bytes() == before
    train(request, out, force=True)
    assert (out / "release.json").read_bytes() != before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    precious = tmp_path / "photos"
    precious.mkdir()
    (precious / "cat.jpg").write_bytes(b"")
    with pytest.raises(OutputRefusedError, match="is no release candidate"):
        train(request, precious, force=True)
    assert (precious / "cat.jpg").exists()


def test_an_edited_candidate_is_refused(plant: pd.DataFrame, tmp_path: Path) -> None:
    out = tmp_path / "out"
    train(TrainRequest(plant, "yield", "plant", budget_s=30, drop=("fault",), trials=1), out)
    graph = bytearray((out / "model.onnx").read_bytes())
    graph[-1] ^= 1
    (out / "model.onnx").write_bytes(graph)
    with pytest.raises(CandidateError, match=r"model\.onnx is not the file that release\.json describes"):
        read_candidate(out)
    with pytest.raises(CandidateError, match="is no release folder"):
        read_candidate(tmp_path)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"model": "Plant 1"}, NameRefusedError),
        ({"budget_s": 0.1}, RequestError),
        ({"budget_s": float("nan")}, RequestError),
        ({"seed": -1}, RequestError),
        ({"trials": 0}, RequestError),
        ({"keep": ("wear",), "drop": ("wear",)}, RequestError),
        ({"drop": ("yield",)}, RequestError),
    ],
)
def test_a_contradictory_request_is_refused_before_the_data_are_read(
    tmp_path: Path, change: dict[str, object], error: type[Exception]
) -> None:
    given: dict[str, object] = {"table": tmp_path / "none.csv", "target": "yield", "model": "plant", **change}
    with pytest.raises(error):
        train(TrainRequest(**given), tmp_path / "out")  # type: ignore[arg-type]


def test_kept_columns_without_a_value_or_a_second_coming_still_make_a_model(
    plant: pd.DataFrame, tmp_path: Path
) -> None:
    plant["empty"] = np.nan
    plant["at"] = pd.date_range("2024-01-01", periods=len(plant), freq="h")
    request = TrainRequest(plant, "yield", "plant", budget_s=30, keep=("empty", "at"), drop=("fault",), trials=2)
    manifest = train(request, tmp_path / "out")
    assert {"empty", "at"} <= {spec.name for spec in manifest.inputs}
    assert manifest.parity.passed
