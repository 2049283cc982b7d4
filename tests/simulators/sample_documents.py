"""One good document of each kind, small enough to read."""

import numpy as np

from protocols.assignment import AssignedRelease, Assignment, StreamBinding
from protocols.manifest import (
    FileInfo,
    Footprint,
    Importance,
    Lineage,
    Manifest,
    ParityCase,
    ParityCertificate,
    TensorSpec,
    Tolerance,
)
from protocols.reference import ReferenceProfile
from protocols.sketches import CategorySketch, NumericSketch
from protocols.summaries import CategorySummary, NumericSummary


def numeric_summary() -> NumericSummary:
    sketch = NumericSketch()
    sketch.update(np.array([1.0, 2.5, np.nan, 40.0], dtype=np.float32), low=0.0, high=30.0)
    return sketch.summary()


def category_summary() -> CategorySummary:
    sketch = CategorySketch()
    sketch.update(["night", "day", "night", "", "夜"], known=frozenset({"night", "day"}))
    return sketch.summary()


def reference() -> ReferenceProfile:
    outputs = {"prediction": numeric_summary()}
    return ReferenceProfile(4, {"temperature": numeric_summary()}, {"shift": category_summary()}, outputs)


def assignment() -> Assignment:
    stream = StreamBinding(
        "main", "ccpp", "line/1/sensors", "line/1/prediction", {"temperature": "$.t", "Torque [Nm]": "$.m[0]"}, "$.id"
    )
    return Assignment("press-1", 7, (AssignedRelease("ccpp", 3, attempt=2),), (stream,), window_s=15.0)


def manifest() -> Manifest:
    files = {name: FileInfo("ab" * 32, 1000 + at) for at, name in enumerate(("golden.npz", "model.onnx", "reference"))}
    case = ParityCase("held-out", 100, 1e-6, 1e-7, 0, True)
    return Manifest(
        model="ccpp",
        version=3,
        task="regression",
        target="power",
        created="2026-01-02T03:04:05Z",
        files=files,
        inputs=(
            TensorSpec("temperature", "float32", unit="°C", low=-5.0, high=40.0),
            TensorSpec("shift", "string", categories=("night", "day")),
        ),
        outputs=(TensorSpec("prediction", "float32"),),
        opset={"ai.onnx": 21, "ai.onnx.ml": 3},
        operators=("Concat", "Gemm"),
        providers={"CPUExecutionProvider": Tolerance(1e-4, 1e-5)},
        footprint=Footprint(20_000_000, 0.05, 0.2, "x86_64"),
        lineage=Lineage("cd" * 32, "ccpp.csv", 9568, ("temperature", "shift"), "power", "0.1.0", {}, 0, 60.0, 12, {}),
        parity=ParityCertificate(Tolerance(1e-4, 1e-5), (case,), "1.20.0"),
        metric="rmse",
        metrics={"rmse": 3.1},
        importance=(Importance("temperature", 12.5, "falls"),),
        licence="CC-BY-4.0",
    )
