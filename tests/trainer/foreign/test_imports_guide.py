"""docs/operations/imports.md and docs/examples: what the scripts and commands make predicts the target."""

import importlib.util
import re
import shlex
from collections.abc import Sequence
from pathlib import Path

import pytest
from simulators.frameworks import ROOT, framework_folder, run_python

from trainer.candidate import read_candidate
from trainer.report import decode_report

GUIDE = (ROOT / "docs" / "operations" / "imports.md").read_text("utf-8")


def commands(kind: str) -> list[list[str]]:
    """Return the command lines of one example."""
    blocks = re.findall(r"```sh\n(.*?)```", GUIDE, re.S)
    block = next(block for block in blocks if f"{kind}_model.py" in block)
    return [shlex.split(line, comments=True) for line in block.splitlines()]


def run(words: list[str], folder: Path, behind: Sequence[Path] = ()) -> str:
    """Run a line of the guide."""
    words = ["-P", "-m", "genba", *words[1:]] if words[0] == "genba" else [str(ROOT / words[1]), *words[2:]]
    return run_python(words, folder, behind)


def check(kind: str, folder: Path, behind: Sequence[Path] = ()) -> None:
    script, *imports = commands(kind)
    run(script, folder, behind)
    for words in imports:
        assert "rows of the sample: rmse" in run(words, folder, behind)
        out = folder / words[-1]
        manifest = read_candidate(out)
        assert [spec.name for spec in manifest.inputs] == ["temperature", "vacuum", "humidity"]
        assert manifest.metrics["rmse"] < 4  # the power's deviation is 13
        assert {case.name for case in manifest.parity.cases} >= {"held-out", "unseen", "edges"}
        report = decode_report((out / "report.json").read_bytes())
        assert any(rail.check == "numbers in float32" for rail in report.guardrails)


def test_a_pipeline_saved_by_joblib_is_taken_in_and_predicts_its_target(tmp_path: Path) -> None:
    check("joblib", tmp_path)


@pytest.mark.parametrize(
    ("kind", "needs"),
    [
        ("table", "onnx"),
        ("sklearn", "skops"),
        ("lightgbm", "lightgbm"),
        ("xgboost", "xgboost"),
        ("catboost", "catboost"),
    ],
)
@pytest.mark.slow
@pytest.mark.sample
def test_an_example_is_taken_in_and_predicts_its_target(tmp_path: Path, kind: str, needs: str) -> None:
    if importlib.util.find_spec(needs) is None:
        pytest.skip(f"{needs} is not installed")
    check(kind, tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(1500)
@pytest.mark.parametrize(("kind", "framework"), [("keras", "tensorflow"), ("torch", "torch"), ("mlflow", "mlflow")])
def test_an_example_of_a_framework_is_taken_in_and_predicts_its_target(
    tmp_path: Path, kind: str, framework: str
) -> None:
    check(kind, tmp_path, [framework_folder(framework)])


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_a_network_whose_framework_is_not_installed_names_the_extra(tmp_path: Path) -> None:
    if importlib.util.find_spec("torch") is not None:
        pytest.skip("PyTorch is installed")
    script, words, _ = commands("torch")
    run(script, tmp_path, [framework_folder("torch")])
    with pytest.raises(AssertionError, match=r"needs the package 'torch'.*pip install 'genba\[torch\]'"):
        run(words, tmp_path)


def test_every_kind_of_file_that_the_guide_names_is_recognised() -> None:
    from trainer.foreign.kinds import _ENDINGS, _TORCH

    known = {*_ENDINGS, *_TORCH}
    table = GUIDE.partition("| what |")[2].partition("\n\n")[0]
    assert set(re.findall(r"`(\.\w+)`", table)) <= known
