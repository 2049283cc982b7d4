"""Candidates made by hand: whole, proven and small, with real sketches of invented readings."""

import hashlib
import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from devices.runtime import identity_model
from protocols.manifest import (
    EXTENDED_VERSION,
    FileInfo,
    Footprint,
    Importance,
    Lineage,
    Manifest,
    ParityCase,
    ParityCertificate,
    TensorSpec,
    Tolerance,
    Variant,
    encode_manifest,
)
from protocols.reference import ReferenceProfile, encode_reference
from protocols.sketches import CategorySketch, NumericSketch

INPUTS = (
    TensorSpec("AT", "float32", unit="°C", low=1.8, high=25.0),
    TensorSpec("V", "float32", unit="cm Hg", low=25.4, high=70.0),
    TensorSpec("RH", "float32", unit="%", low=40.0, high=100.0),
    TensorSpec("grade", "string", categories=("L", "M", "H")),
)


def readings(count: int, temperature: float, seed: int = 0) -> dict[str, Any]:
    """Invented readings of a plant at an ambient temperature: column -> values."""
    rng = np.random.default_rng(seed)
    return {
        "AT": rng.normal(temperature, 4.0, count).astype(np.float32),
        "V": (rng.normal(45.0, 6.0, count) + 0.8 * (temperature - 14)).astype(np.float32),
        "RH": rng.normal(75.0, 9.0, count).astype(np.float32),
        "grade": rng.choice(["L", "M", "H"], count, p=[0.6, 0.3, 0.1]).tolist(),
    }


def sketch(values: Any) -> Any:
    found = CategorySketch() if isinstance(values, list) else NumericSketch()
    found.update(values)
    return found.summary()


def reference_of(columns: dict[str, Any]) -> ReferenceProfile:
    return ReferenceProfile(
        rows=len(columns["AT"]),
        numeric={name: sketch(columns[name]) for name in ("AT", "V", "RH")},
        categories={"grade": sketch(columns["grade"])},
        outputs={"prediction": sketch(480 - 1.9 * columns["AT"])},
    )


def manifest_of(files: dict[str, bytes], **changes: Any) -> Manifest:
    tolerance = Tolerance(1e-4, 1e-4)
    manifest = Manifest(
        model="ccpp",
        task="regression",
        target="PE",
        created="2026-11-23T10:00:00Z",
        files={name: FileInfo(hashlib.sha256(data).hexdigest(), len(data)) for name, data in files.items()},
        inputs=INPUTS,
        outputs=(TensorSpec("prediction", "float32"),),
        opset={"": 21, "ai.onnx.ml": 3},
        operators=("Concat", "Imputer", "OneHotEncoder", "Scaler", "TreeEnsembleRegressor"),
        providers={"CPUExecutionProvider": tolerance},
        footprint=Footprint(41_000_000, 0.042, 0.11, "x86_64, 2 cores"),
        lineage=Lineage(
            data_sha256="ab" * 32,
            data_name="ccpp.csv",
            rows=4784,
            columns=tuple(spec.name for spec in INPUTS),
            target="PE",
            code_version="0.1.0",
            pins={"scikit-learn": "1.9.1", "skl2onnx": "1.20.0", "onnx": "1.23.2"},
            seed=7,
            budget_s=12.0,
            trials=23,
            parameters={"family": "gradient boosting", "learning_rate": 0.08, "depth": 5, "rounds": 160},
        ),
        parity=ParityCertificate(
            tolerance,
            (
                ParityCase("held-out", 957, 4.6e-5, 6.1e-6, 0, True),
                ParityCase("missing", 256, 3.1e-5, 5.0e-6, 0, True),
                ParityCase("unseen", 128, 3.0e-5, 5.2e-6, 0, True),
                ParityCase("edges", 64, 5.9e-5, 7.7e-6, 0, True),
            ),
            "1.32.0",
        ),
        metric="rmse",
        metrics={"rmse": 3.187, "mae": 2.301, "r2": 0.951},
        importance=(
            Importance("AT", 9.84, "falls"),
            Importance("V", 3.91, "falls"),
            Importance("RH", 0.62, "mixed"),
            Importance("grade", 0.05, "mixed"),
        ),
    )
    return msgspec.structs.replace(manifest, **changes)


def named_graph(name: bytes) -> bytes:
    """Return a real graph, y = x, in whose description a name stands, so that another name is another graph."""
    size, digits = len(name), bytearray()
    while size >= 0x80:
        digits.append(size & 0x7F | 0x80)
        size >>= 7
    return identity_model({}) + b"\x32" + bytes([*digits, size]) + name


def write_candidate(
    folder: Path,
    *,
    named: bytes = b"a graph",
    onnx: bytes | None = None,
    int8: bytes | None = None,
    temperature: float = 14.0,
    **changes: Any,
) -> Path:
    """Write a candidate's folder; its graph is made from a name, or given; `changes` go into its manifest.

    `int8` is a variant's graph.
    """
    folder.mkdir(parents=True)
    files = {
        "golden.npz": b"golden vectors",
        "reference": encode_reference(reference_of(readings(4000, temperature))),
        "model.onnx": named_graph(named) if onnx is None else onnx,
    }
    if int8 is not None:
        files["model.int8.onnx"] = int8
        variant = Variant("model.int8.onnx", Tolerance(1.0, 0.0), "by hand", 0.5, 0.1, 0)
        changes = {"variants": {"int8": variant}, "v": EXTENDED_VERSION, **changes}
    for name, data in files.items():
        (folder / name).write_bytes(data)
    (folder / "release.json").write_bytes(encode_manifest(manifest_of(files, **changes)))
    guardrail = {"check": "missing values", "state": "done", "seen": ["V: 12 rows"], "done": "filled in"}
    (folder / "report.json").write_text(json.dumps({"guardrails": [guardrail]}))
    return folder
