"""The graph computes what the model computes, for every family and task; where it does not, there is no release."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pandas as pd
import pytest
from onnx import numpy_helper
from simulators.first_settings import first_settings
from simulators.inline_workers import InlineWorkers, train_inline

from protocols.manifest import Task
from protocols.recipe import Member, Recipe
from trainer.cases import UNSEEN, make_cases
from trainer.errors import ExportError, ParityError
from trainer.families import FAMILIES, Shape
from trainer.fitting import one_thread
from trainer.graph.blend import write_graph
from trainer.graph.featurizer import feature_names
from trainer.graphs import to_feed
from trainer.guardrails.check import check_table
from trainer.limits import Costs
from trainer.metrics import METRIC, metric_named
from trainer.request import TrainRequest
from trainer.search.division import divide_rows, make_material
from trainer.search.proving import fit_and_prove
from trainer.search.trial import Bench, try_out
from trainer.train import train


@pytest.fixture(autouse=True)
def inline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes are not the point here."""
    train_inline(monkeypatch)


def targets(plant: pd.DataFrame) -> dict[str, Any]:
    return {
        "regression": plant["yield"],
        "two classes": plant["fault"],
        "three classes": pd.cut(plant["yield"], 3, labels=["low", "mid", "high"]).astype(str),
        "whole numbers": (plant["yield"] > plant["yield"].median()).astype(int) * 3,
    }


#: Estimators of the portfolio that are not proven on a task, and why.
EXCLUDED = {("process", "classification"): "a Gaussian process of classes has no closed form to export"}


def matrix() -> list[tuple[str, int, str]]:
    """Every family, every setting that is tried first, every kind of target."""
    found = []
    for target in ("regression", "two classes", "three classes", "whole numbers"):
        task: Task = "regression" if target == "regression" else "classification"
        shape = Shape(task, 240, 4, 0 if task == "regression" else 3)
        for name in FAMILIES:
            starts = range(len(first_settings(name, shape)))
            assert starts or (name, task) in EXCLUDED, f"{name} is neither proven nor excluded for a {task}"
            found += [(name, start, target) for start in starts]
    return found


@pytest.mark.parametrize("seeds", [(0,), (0, 1)], ids=["one fit", "two fits"])
@pytest.mark.parametrize(("family", "start", "target"), matrix())
def test_every_family_is_proven(
    plant: pd.DataFrame, family: str, start: int, target: str, seeds: tuple[int, ...]
) -> None:
    checked = check_table(plant.drop(columns=["yield", "fault"]).assign(y=targets(plant)[target]), "y", None)
    division = dataclasses.replace(divide_rows(checked, 60.0, 0)[0], parts=1)
    cases = make_cases(checked.features, division.held_out)
    material = make_material(checked, division, cases, 0)
    parameters = dict(first_settings(family, material.shape)[start])
    bench = Bench(material)
    metric = metric_named(METRIC[material.shape.task])
    with one_thread():
        tried = try_out(bench, family, parameters, metric.name, np.inf)
    member = Member(family, tried.parameters, tried.settled, 1.0, seeds)
    recipe = Recipe((member,), temperature=1.2)
    with one_thread():
        proven = fit_and_prove(checked, material, cases, recipe, InlineWorkers(bench), None, lambda done, of: None)
    assert [case.name for case in proven.certificate.cases] == ["held-out", "missing", "unseen", "edges"]
    assert proven.certificate.passed
    session = ort.InferenceSession(proven.graph, providers=["CPUExecutionProvider"])
    assert [entry.name for entry in session.get_inputs()] == feature_names(checked.features)
    told = [] if proven.contributions is None else ["contributions"]
    assert [entry.name for entry in session.get_outputs()] == (
        ["prediction", *told] if target == "regression" else ["prediction", "probabilities", *told]
    )
    outputs = session.run(None, cases[0].feed(feature_names(checked.features)))
    if target == "regression":
        assert outputs[0].shape == (cases[0].rows, 1)
    else:
        labels_given = [str(label) for label in outputs[0]]
        assert labels_given == [checked.target.classes[index] for index in outputs[1].argmax(axis=1)]


def test_a_threshold_decides_in_the_graph(plant: pd.DataFrame, tmp_path: Path) -> None:
    costs = Costs(false_alarm=1.0, miss=30.0, positive="bad")
    request = TrainRequest(plant, "fault", "plant", budget_s=30, drop=("yield",), trials=2, costs=costs)
    manifest = train(request, tmp_path / "out")
    assert manifest.lineage.recipe is not None
    decision = manifest.lineage.recipe.decision
    assert decision is not None
    assert 0 < decision.threshold < 0.5
    session = ort.InferenceSession(tmp_path / "out" / "model.onnx", providers=["CPUExecutionProvider"])
    checked = check_table(plant.drop(columns="yield"), "fault", None)
    labels, probabilities, *_ = session.run(None, to_feed(checked.features))
    alarms = probabilities[:, manifest.classes.index("bad")] >= np.float32(decision.threshold)
    assert (labels == "bad").tolist() == alarms.tolist()
    assert alarms.sum() > (probabilities.argmax(axis=1) == manifest.classes.index("bad")).sum()


def test_the_cases_hold_what_they_say(plant: pd.DataFrame) -> None:
    checked = check_table(plant.drop(columns="fault"), "yield", None)
    _, missing, unseen, edges = make_cases(checked.features, np.arange(50))
    number, text = 0, 3
    assert np.isnan(missing.columns[number]).sum() >= 2
    assert (missing.columns[text] == "").sum() >= 2
    assert (unseen.columns[text] == UNSEEN).sum() == 2
    highest = checked.features[number].values.max()
    assert (unseen.columns[number] > highest).sum() == 2
    assert {checked.features[number].values.min(), highest} <= set(edges.columns[number])
    assert edges.columns[number].max() == np.nextafter(highest, np.float32(np.inf))


def shift(data: bytes, by: float) -> bytes:
    """The graph with a wrong constant in its last model."""
    model = onnx.ModelProto.FromString(data)
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.name == "leaf_weights":
                attribute.t.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(attribute.t) + np.float32(by)))
    for tensor in model.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) + np.float32(by), tensor.name))
    return bytes(model.SerializeToString())


def broken(*args: Any) -> bytes:
    return shift(write_graph(*args), 0.1)


@pytest.mark.parametrize(("target", "other"), [("yield", "fault"), ("fault", "yield")])
def test_a_broken_export_is_refused_and_nothing_is_written(
    plant: pd.DataFrame, tmp_path: Path, target: str, other: str
) -> None:
    request = TrainRequest(plant, target, "plant", budget_s=30, drop=(other,), trials=2)
    with pytest.raises(ParityError, match=r"held-out rows: by up to .* \(tolerance .* no release"):
        train(request, tmp_path / "out", writer=broken)
    assert [one.name for one in tmp_path.iterdir()] == ["out.search"]  # the trials, for the next try


def test_the_next_best_is_taken_where_the_best_cannot_be_exported(plant: pd.DataFrame, tmp_path: Path) -> None:
    refusals: list[int] = []

    def picky(*args: Any) -> bytes:
        if not refusals:
            refusals.append(1)
            raise ExportError("no converter")
        return write_graph(*args)

    request = TrainRequest(plant, "yield", "plant", budget_s=30, drop=("fault",), trials=3)
    manifest = train(request, tmp_path / "out", writer=picky)
    assert refusals
    assert manifest.parity.passed
    assert "no converter" in (tmp_path / "out" / "report.json").read_text()
