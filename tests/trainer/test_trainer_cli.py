"""`genba train` and `genba import` as a person meets them."""

import argparse
import os
import subprocess
import sys
from pathlib import Path

import joblib
import pandas as pd
import pytest
from sklearn.linear_model import Ridge

import genba
from trainer.train_options import milliseconds, seconds, size


@pytest.fixture
def data(plant: pd.DataFrame, tmp_path: Path) -> Path:
    path = tmp_path / "plant.csv"
    plant.to_csv(path, index=False)
    return path


def command(data: Path, out: Path, *more: str) -> list[str]:
    return ["train", str(data), "--target", "yield", "--model", "plant", "--out", str(out), *more]


def test_a_candidate_and_a_summary(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    status = genba.main(command(data, out, "--trials", "2", "--budget", "20s", "--drop", "fault"))
    text = capsys.readouterr()
    assert status == 0
    assert (out / "release.json").exists()
    assert "Torque [Nm]" in text.out
    assert f"genba publish {out}" in text.out
    assert text.err == ""  # no progress where nobody looks


def test_an_earlier_candidate_is_refused_at_once_and_named(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = command(data, tmp_path / "out", "--trials", "1", "--budget", "20s", "--drop", "fault")
    assert genba.main(arguments) == 0
    capsys.readouterr()
    data.unlink()  # nothing is read before the refusal
    assert genba.main(arguments) == 1
    assert "holds a candidate of 'plant' (rmse" in capsys.readouterr().err


def test_bad_data_is_one_line_and_status_1(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status = genba.main(command(data, tmp_path / "out", "--keep", "torque"))
    text = capsys.readouterr()
    assert status == 1
    assert text.out == ""
    assert text.err.startswith("genba: --keep 'torque' is not a column")
    assert text.err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_folder_in_place_of_a_table_is_told_what_to_give(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert genba.main(command(tmp_path, tmp_path / "out")) == 1
    assert f"{tmp_path} is a folder; give a CSV, CSV.gz or Parquet file in it" in capsys.readouterr().err


@pytest.mark.parametrize("wrong", [["--budget", "soon"], ["--task", "magic"], ["--seed", "x"], ["--what"]])
def test_wrong_usage_is_status_2(data: Path, tmp_path: Path, wrong: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        genba.main(command(data, tmp_path / "out", *wrong))
    assert caught.value.code == 2


@pytest.mark.parametrize(("text", "wanted"), [("60", 60), ("60s", 60), ("5m", 300), ("1.5h", 5400), ("2 min", 120)])
def test_lengths_of_time(text: str, wanted: float) -> None:
    assert seconds(text) == wanted


@pytest.mark.parametrize(("text", "wanted"), [("500kB", 500_000), ("64MB", 64_000_000), ("1GiB", 2**30), ("12", 12)])
def test_sizes(text: str, wanted: int) -> None:
    assert size(text) == wanted


@pytest.mark.parametrize(("text", "wanted"), [("2ms", 2.0), ("0.5", 0.5), ("200us", 0.2), ("1s", 1000.0)])
def test_latencies(text: str, wanted: float) -> None:
    assert milliseconds(text) == pytest.approx(wanted)


@pytest.mark.parametrize("text", ["", "-5", "1d", "s", "nan", "0"])
def test_what_is_no_length_of_time(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        seconds(text)


def test_a_pipeline_is_imported_with_a_warning(
    data: Path,
    plant: pd.DataFrame,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("GENBA_REGISTRY", raising=False)
    joblib.dump(Ridge().fit(plant[["Torque [Nm]"]], plant["yield"]), tmp_path / "m.joblib")
    arguments = ["import", str(tmp_path / "m.joblib"), "--sample", str(data), "--model", "plant"]
    assert genba.main([*arguments, "--out", str(tmp_path / "out")]) == 1
    assert "--trust" in capsys.readouterr().err
    assert genba.main([*arguments, "--out", str(tmp_path / "out"), "--trust", "--target", "yield"]) == 0
    text = capsys.readouterr()
    assert text.err.count("runs the code") == 1
    assert "rmse" in text.out
    assert text.out.endswith(f"next: genba publish {tmp_path / 'out'} --registry URL\n")
    monkeypatch.setenv("GENBA_REGISTRY", "http://127.0.0.1:8080")
    assert genba.main([*arguments, "--out", str(tmp_path / "out"), "--trust", "--force"]) == 0
    assert capsys.readouterr().out.endswith(f"next: genba publish {tmp_path / 'out'}\n")


@pytest.mark.parametrize("verb", ["train", "import"])
def test_help_waits_for_no_library(root: Path, verb: str) -> None:
    program = f"""
import sys
from trainer.cli import train, import_model
try:
    (train if {verb!r} == "train" else import_model)(["--help"])
except SystemExit as stop:
    assert stop.code == 0
assert not {{"pandas", "numpy", "sklearn", "optuna", "shap", "onnx"}} & set(sys.modules), sorted(sys.modules)
"""
    environment = {**os.environ, "PYTHONPATH": str(root)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"genba {verb}" in done.stdout
