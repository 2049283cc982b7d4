"""The graph computes what the model computes, for every family and task; where it does not, there is no release."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pandas as pd
import pytest
from onnx import numpy_helper

from trainer.cases import UNSEEN, make_cases
from trainer.columns import Kind
from trainer.errors import ExportError, ParityError
from trainer.export import export_pipeline
from trainer.families import DEFAULTS, Parameters
from trainer.featurizer import feature_names
from trainer.guardrails.check import check_table
from trainer.proving import prove_best
from trainer.request import TrainRequest
from trainer.search import Trial
from trainer.train import train

SMALL: dict[str, Parameters] = {
    "linear": DEFAULTS["linear"],
    "boosted": {**DEFAULTS["boosted"], "rounds": 30},
    "random": {**DEFAULTS["forest"], "trees": 10},
    "extra": {**DEFAULTS["forest"], "trees": 10, "kind": "extra"},
}


def targets(plant: pd.DataFrame) -> dict[str, Any]:
    return {
        "regression": plant["yield"],
        "two classes": plant["fault"],
        "three classes": pd.cut(plant["yield"], 3, labels=["low", "mid", "high"]).astype(str),
        "whole numbers": (plant["yield"] > plant["yield"].median()).astype(int) * 3,
    }


@pytest.mark.parametrize("target", ["regression", "two classes", "three classes", "whole numbers"])
@pytest.mark.parametrize("family", sorted(SMALL))
def test_every_family_exports_faithfully(plant: pd.DataFrame, family: str, target: str) -> None:
    labels = targets(plant)[target]
    table = plant.drop(columns=["yield", "fault"]).assign(y=labels)
    checked = check_table(table, "y", None)
    rows = np.arange(len(table))
    cases = make_cases(checked.features, rows[::5])
    proven = prove_best(checked, rows[rows % 5 > 0], [Trial(SMALL[family], 0.0)], 0, cases, export_pipeline)
    assert [case.name for case in proven.certificate.cases] == ["held-out", "missing", "unseen", "edges"]
    assert proven.certificate.passed
    session = ort.InferenceSession(proven.graph, providers=["CPUExecutionProvider"])
    assert [entry.name for entry in session.get_inputs()] == feature_names(checked.features)
    assert [entry.name for entry in session.get_outputs()] == (
        ["prediction"] if target == "regression" else ["prediction", "probabilities"]
    )
    outputs = session.run(None, cases[0].feed(feature_names(checked.features)))
    if target == "regression":
        assert outputs[0].shape == (cases[0].rows, 1)
    else:
        labels_given = [str(label) for label in outputs[0]]
        assert labels_given == [checked.target.classes[index] for index in outputs[1].argmax(axis=1)]


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
            if attribute.name in ("base_values", "intercepts"):
                attribute.floats[0] += by
            elif attribute.name == "target_weights":
                attribute.floats[:] = [value + by for value in attribute.floats]
    for tensor in model.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) + np.float32(by), tensor.name))
    return bytes(model.SerializeToString())


def broken(pipeline: Any, names: Sequence[str], kinds: Sequence[Kind]) -> bytes:
    return shift(export_pipeline(pipeline, names, kinds), 0.1)


@pytest.mark.parametrize(("target", "other"), [("yield", "fault"), ("fault", "yield")])
def test_a_broken_export_is_refused_and_nothing_is_written(
    plant: pd.DataFrame, tmp_path: Path, target: str, other: str
) -> None:
    request = TrainRequest(plant, target, "plant", budget_s=30, drop=(other,), trials=2)
    with pytest.raises(ParityError, match=r"held-out rows: by up to .* \(tolerance .* no release"):
        train(request, tmp_path / "out", exporter=broken)
    assert list(tmp_path.iterdir()) == []


def test_the_next_best_is_taken_where_the_best_cannot_be_exported(plant: pd.DataFrame, tmp_path: Path) -> None:
    refusals: list[str] = []

    def picky(pipeline: Any, names: Sequence[str], kinds: Sequence[Kind]) -> bytes:
        if not refusals:
            refusals.append(type(pipeline[-1]).__name__)
            raise ExportError("no converter")
        return export_pipeline(pipeline, names, kinds)

    request = TrainRequest(plant, "yield", "plant", budget_s=30, drop=("fault",), trials=3)
    manifest = train(request, tmp_path / "out", exporter=picky)
    assert refusals
    assert manifest.parity.passed
    assert "no converter" in (tmp_path / "out" / "report.json").read_text()
