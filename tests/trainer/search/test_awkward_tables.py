"""Awkward tables through the whole of a run: every metric, odd columns, groups and time, few rows of a class."""

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pandas as pd
import pytest
from simulators.inline_workers import train_inline

from protocols.manifest import Manifest
from trainer.candidate import read_candidate
from trainer.columns import Column
from trainer.errors import TargetError
from trainer.graph.builder import FLOAT, GraphBuilder
from trainer.graph.encoded import encode
from trainer.graph.featurizer import fit_featurizer
from trainer.graphs import open_graph
from trainer.limits import Costs
from trainer.metrics import METRICS
from trainer.report import decode_report
from trainer.request import TrainRequest
from trainer.train import train

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def inline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes are not the point here."""
    train_inline(monkeypatch)


def trained(table: pd.DataFrame, target: str, out: Path, **wishes: Any) -> Manifest:
    """Train with two trials and look at what was written."""
    train(TrainRequest(table, target, "plant", budget_s=30, **{"trials": 2, **wishes}), out)
    manifest = read_candidate(out)
    assert manifest.parity.passed
    assert [case.name for case in manifest.parity.cases] == ["held-out", "missing", "unseen", "edges"]
    return manifest


def answers(out: Path, rows: dict[str, Any]) -> list[Any]:
    session = ort.InferenceSession(out / "model.onnx", providers=["CPUExecutionProvider"])
    return list(session.run(None, rows))


@pytest.mark.parametrize("metric", METRICS)
def test_every_metric_decides_a_run(plant: pd.DataFrame, tmp_path: Path, metric: str) -> None:
    task = METRICS[metric].task
    target, other = ("fault", "yield") if task == "classification" else ("yield", "fault")
    manifest = trained(plant, target, tmp_path / "out", metric=metric, drop=(other,))
    assert manifest.task == task


def test_costs_of_mistakes_move_the_threshold(plant: pd.DataFrame, tmp_path: Path) -> None:
    thresholds = []
    for miss in (0.05, 20.0):
        costs = Costs(1.0, miss, "bad")
        manifest = trained(plant, "fault", tmp_path / f"{miss}", drop=("yield",), costs=costs)
        assert manifest.lineage.recipe is not None
        assert manifest.lineage.recipe.decision is not None
        thresholds.append(manifest.lineage.recipe.decision.threshold)
    assert thresholds[0] > 0.5 > thresholds[1]


def rows_of(many: int = 120, seed: int = 0) -> dict[str, Any]:
    random = np.random.default_rng(seed)
    heat, wear = random.normal(300, 5, many), random.uniform(0, 9, many)
    return {"heat": heat.round(2), "wear": wear.round(2), "y": (heat - 300 + wear + random.normal(0, 1, many)).round(3)}


def test_texts_with_many_values_and_unseen_ones(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    shops = np.array([f"shop {number}" for number in range(90)])
    picked = random.integers(0, 90, 600)
    table = pd.DataFrame({**rows_of(600), "shop": shops[picked]})
    table["y"] += picked % 7
    trained(table, "y", tmp_path / "out", trials=4, keep=("shop",))
    row = {"heat": np.float32([[300], [300]]), "wear": np.float32([[3], [3]])}
    told = answers(tmp_path / "out", {**row, "shop": np.array([["shop 3"], ["no such shop"]], dtype=object)})[0]
    assert np.isfinite(told).all()
    three = table.assign(y=pd.cut(table["y"], 3, labels=["low", "mid", "high"]).astype(str))
    trained(three, "y", tmp_path / "classes", trials=4, keep=("shop",))


def test_a_column_without_a_value_that_is_kept(tmp_path: Path) -> None:
    table = pd.DataFrame({**rows_of(), "empty": [None] * 120})
    manifest = trained(table, "y", tmp_path / "out", trials=8, keep=("empty",))
    assert "empty" in {spec.name for spec in manifest.inputs}


def test_three_hundred_columns(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    table = pd.DataFrame(random.normal(size=(100, 300)), columns=[f"sensor {number}" for number in range(300)])
    table["y"] = table["sensor 7"] * 3 + random.normal(0, 0.1, 100)
    assert len(trained(table, "y", tmp_path / "out", trials=1).inputs) == 300


NAMES = ("t/0", "matrix", "Torque [Nm]", "加工 / 温度", "prediction", "probabilities", " n0 ", "tt/1", "result", "rows")


@pytest.mark.parametrize("classes", [0, 2])
def test_columns_named_as_parts_of_graphs_or_in_other_scripts(tmp_path: Path, classes: int) -> None:
    random = np.random.default_rng(0)
    table = pd.DataFrame(random.normal(size=(120, len(NAMES))), columns=list(NAMES))
    table["加工 / 温度"] = random.choice(["a/b", "ä ö", "t/0", ""], 120)
    y: Any = table["t/0"] + table["matrix"] + random.normal(0, 0.1, 120)
    table["y"] = y if not classes else np.where(y > 0, "t/0", "matrix")
    taken = [name for name in NAMES if name not in ("prediction", "probabilities")]
    trained(table[[*taken, "y"]], "y", tmp_path / "out", trials=3)


def test_groups_and_time_are_kept_apart_where_folds_lack_a_class(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    many = 150
    table = pd.DataFrame({**rows_of(many), "machine": [f"M{number // 10}" for number in range(many)]})
    table["kind"] = np.where(np.arange(many) // 10 % 5 == 0, "rare", np.where(table["y"] > 4, "high", "low"))
    table.loc[table["machine"].isin(["M0", "M5"]), "kind"] = "low"  # one machine in a fold has all of its kind
    table = table.drop(columns="y")
    trained(table, "kind", tmp_path / "groups", group="machine", trials=4)
    dates = pd.date_range("2024-01-01", periods=many, freq="h").astype(str)
    stamped = table.drop(columns="machine").assign(
        at=dates, drift=np.linspace(0, 5, many) + random.normal(0, 0.1, many)
    )
    trained(stamped, "kind", tmp_path / "time", validate="newest", trials=4)


@pytest.mark.sample
def test_few_rows_of_a_class(tmp_path: Path) -> None:
    table = pd.DataFrame(rows_of(200))
    table["kind"] = np.where(table["y"] > table["y"].median(), "high", "low")
    table.loc[:4, "kind"] = "five"
    table.loc[5:6, "kind"] = "two"
    table = table.drop(columns="y")
    manifest = trained(table, "kind", tmp_path / "out", trials=4)
    assert manifest.classes == ("five", "high", "low")


def test_few_rows_of_each_of_many_classes(tmp_path: Path) -> None:
    table = pd.DataFrame(rows_of(48)).drop(columns="y")
    table["kind"] = [f"kind {number % 6}" for number in range(48)]
    assert len(trained(table, "kind", tmp_path / "out").classes) == 6


def test_a_text_that_is_in_some_folds_only(tmp_path: Path) -> None:
    table = pd.DataFrame({**rows_of(), "grade": ["L"] * 119 + ["H"]})
    trained(table, "y", tmp_path / "out", keep=("grade",), trials=3)
    found = decode_report((tmp_path / "out" / "report.json").read_bytes())
    assert {one.parameters["family"] for one in found.trials} >= {"linear", "process"}


def test_a_target_that_is_constant_within_most_folds(tmp_path: Path) -> None:
    table = pd.DataFrame({**rows_of(80), "shop": [f"shop {number % 70}" for number in range(80)]})
    table["y"] = 1.5
    table.loc[70:, "y"] = [2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0, 5.5, 6.0, 6.5]
    trained(table, "y", tmp_path / "out", trials=8, validate="newest", keep=("shop",))


def test_newest_rows_of_one_class_alone(tmp_path: Path) -> None:
    table = pd.DataFrame(rows_of(100)).drop(columns="y")
    table["kind"] = ["good"] * 80 + ["bad"] * 20
    with pytest.raises(TargetError, match=r"each is 'good', so there is nothing to tell apart: .* --validate random"):
        trained(table, "kind", tmp_path / "out", validate="newest")


def test_numbers_as_large_as_floats_can_be_are_no_end(tmp_path: Path) -> None:
    table = pd.DataFrame(rows_of(200))
    table["wear"] /= 1000
    table.loc[::20, "wear"] = -3.4e38  # what some controllers write where there is no value
    trained(table, "y", tmp_path / "out", trials=5)
    found = decode_report((tmp_path / "out" / "report.json").read_bytes())
    assert {one.parameters["family"] for one in found.trials} >= {"linear", "kernel", "network"}


def test_far_values_are_drawn_in_and_never_turn_into_no_number() -> None:
    values = np.float32([-3.4e38, -5.0, 0.0, 5.0, 3.4e38, np.nan])
    wear = Column("wear", "number", np.linspace(-1e-3, 1e-3, 100, dtype=np.float32))
    featurizer, _ = fit_featurizer("smooth", encode([wear]), np.zeros(100), 0, 0)
    told = featurizer.transform(encode([Column("wear", "number", values)]))[:, 0]
    np.testing.assert_allclose(told[[0, 1, 3, 4]], [-3, -3, 3, 3], rtol=1e-3)
    np.testing.assert_allclose(told[[2, 5]], 0, atol=1e-6)
    builder = GraphBuilder([("wear", FLOAT)])
    builder.output(featurizer.write(builder, ["wear"], encode([wear])), "result", FLOAT, ["rows", 1])
    (result,) = open_graph(builder.finish()).run(None, {"wear": values[:, None]})
    np.testing.assert_allclose(result[:, 0], told, rtol=1e-6)


def test_a_few_different_rows_over_and_over(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    table = pd.DataFrame({"a": random.integers(0, 3, 200), "b": random.integers(0, 3, 200)})
    table["y"] = np.where(table["a"] + random.integers(0, 3, 200) > 2, "x", "z")
    trained(table, "y", tmp_path / "out", trials=8, keep=("a", "b"))
