"""Variants of trained models: offered where smaller, no slower and close enough, else a line that says why not."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from simulators.first_settings import first_settings

import genba
from protocols.manifest import Footprint, Manifest
from protocols.recipe import Member, Recipe
from trainer.candidate import read_candidate
from trainer.cases import make_cases
from trainer.families import Shape
from trainer.guardrails.check import check_table
from trainer.precision import offers as offered_variants
from trainer.report import Report, decode_report, describe
from trainer.request import TrainRequest
from trainer.train import train

pytestmark = pytest.mark.slow


def sensors(rows: int = 600) -> pd.DataFrame:
    random = np.random.default_rng(2)
    table = pd.DataFrame(random.normal(size=(rows, 12)), columns=[f"s{each}" for each in range(12)])
    table["y"] = np.sin(table["s0"]) + table["s1"] * table["s2"] + 0.1 * random.normal(size=rows)
    return table


def released(out: Path, family: str, **options: Any) -> tuple[Report, Manifest]:
    """A model of one family, whose report says in words what it lists."""
    member = Member(family, first_settings(family, Shape("regression", 600, 12, 0))[0], {}, 1.0, (0,))
    request = TrainRequest(sensors(), "y", "line", budget_s=60, recipe=Recipe((member,)), **options)
    train(request, out)
    manifest, report = read_candidate(out), decode_report((out / "report.json").read_bytes())
    assert all(line in describe(report, manifest) for line in report.variants)
    return report, manifest


@pytest.mark.sample
def test_a_network_is_offered_in_less_precision_or_told_by_its_figures_why_not(tmp_path: Path) -> None:
    report, manifest = released(tmp_path / "out", "network", quantise=("float16", "int8"), variant_tolerance=10.0)
    assert len(report.variants) + len(manifest.variants) == 2
    for variant in manifest.variants.values():
        assert manifest.files[variant.file].size_bytes < manifest.files["model.onnx"].size_bytes
    for line in report.variants:
        assert re.match(r"(float16|int8) is not offered: (a row takes .* ms|it has \d+ kB)", line)


def test_trees_have_nothing_to_gain(tmp_path: Path) -> None:
    report, manifest = released(tmp_path / "out", "boosted", quantise=("int8",))
    assert not manifest.variants
    assert report.variants[0].startswith("int8 is not offered: the model has no layer (MatMul, Gemm, Conv)")


def test_layers_in_float64_stay_so(tmp_path: Path) -> None:
    report, manifest = released(tmp_path / "out", "kernel", quantise=("float16",), variant_tolerance=10.0)
    assert len(report.variants) + len(manifest.variants) == 1
    assert "cannot run" not in "".join(report.variants)


def test_a_variant_that_is_too_far_off_is_not_offered(tmp_path: Path) -> None:
    report, manifest = released(tmp_path / "out", "network", quantise=("int8",), variant_tolerance=1e-9)
    assert not manifest.variants
    assert "differs from the model on" in report.variants[0]


@pytest.mark.parametrize(("slower", "offered"), [(2.0, False), (0.9, True)])
def test_a_variant_is_offered_only_where_it_is_no_slower(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, slower: float, offered: bool
) -> None:
    _, manifest = released(tmp_path / "out", "network")
    files = {name: (tmp_path / "out" / name).read_bytes() for name in manifest.files}
    whole = len(files["model.onnx"])
    monkeypatch.setattr(
        offered_variants,
        "measure_footprint",
        lambda model, golden: Footprint(1, 1.0 if len(model) == whole else slower, 1.0, "made up"),
    )
    features = check_table(sensors(), "y", None).features
    cases = make_cases(features, np.arange(100))
    told, more, refused = offered_variants.offer_variants(["float16"], 10.0, manifest, files, cases)
    assert ("float16" in told.variants, "model.float16.onnx" in more) == (offered, offered)
    assert refused == (() if offered else ("float16 is not offered: a row takes 2 ms, and 1 ms with the model",))
    _, more, late = offered_variants.offer_variants(["int8"], 10.0, manifest, files, cases, lambda: 0.5)
    assert more == files
    assert late == ("int8 is not offered: the time was over; give a larger --budget",)


@pytest.mark.parametrize("wrong", [["--quantise", "int4"], ["--quantise", "int8,,"], ["--variant-tolerance", "0"]])
def test_wrong_usage_is_status_2(tmp_path: Path, wrong: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        genba.main(["train", "t.csv", "--target", "y", "--model", "m", "--out", str(tmp_path), *wrong])
    assert caught.value.code == 2
