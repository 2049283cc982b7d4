"""Small real ONNX models with real golden vectors, and releases made of them."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper

from protocols.manifest import (
    EXTENDED_VERSION,
    Contributions,
    FileInfo,
    Footprint,
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
from protocols.sketches import NumericSketch

CPU = "CPUExecutionProvider"
NUMBERS = ("AT", "V")
TOLERANCE = Tolerance(1e-4, 1e-4)


def _graph(name: str, nodes: list[Any], inputs: list[Any], outputs: list[Any], constants: list[Any]) -> onnx.ModelProto:
    graph = helper.make_graph(nodes, name, inputs, outputs, constants)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    onnx.checker.check_model(model)
    return model


def _number(name: str) -> Any:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, 1])


def _linear_nodes(weights: tuple[float, ...], names: tuple[str, ...]) -> tuple[list[Any], list[Any]]:
    """Missing counts as zero."""
    nodes, constants, filled = [], [helper.make_tensor("zero", TensorProto.FLOAT, [1], [0.0])], []
    for name in names:
        nodes.append(helper.make_node("IsNaN", [name], [f"{name}_gone"]))
        nodes.append(helper.make_node("Where", [f"{name}_gone", "zero", name], [f"{name}_filled"]))
        filled.append(f"{name}_filled")
    nodes.append(helper.make_node("Concat", filled, ["row"], axis=1))
    nodes.append(helper.make_node("MatMul", ["row", "weights"], ["weighted"]))
    constants.append(helper.make_tensor("weights", TensorProto.FLOAT, [len(names), 1], weights))
    return nodes, constants


def regression(weights: tuple[float, ...] = (2.0, -1.0), bias: float = 10.0) -> onnx.ModelProto:
    """prediction = bias + weights * (AT, V)"""
    nodes, constants = _linear_nodes(weights, NUMBERS)
    nodes.append(helper.make_node("Add", ["weighted", "bias"], ["prediction"]))
    constants.append(helper.make_tensor("bias", TensorProto.FLOAT, [1], [bias]))
    return _graph("regression", nodes, [_number(name) for name in NUMBERS], [_number("prediction")], constants)


def telling_regression() -> onnx.ModelProto:
    """As `regression`, with contributions: 2 AT and -V, less what they are at AT 3 and V 4."""
    nodes, constants = _linear_nodes((2.0, -1.0), NUMBERS)
    nodes.append(helper.make_node("Add", ["weighted", "bias"], ["prediction"]))
    nodes.append(helper.make_node("Mul", ["row", "each"], ["parts"]))
    nodes.append(helper.make_node("Sub", ["parts", "usual"], ["contributions"]))
    constants.append(helper.make_tensor("bias", TensorProto.FLOAT, [1], [10.0]))
    constants.append(helper.make_tensor("each", TensorProto.FLOAT, [2], [2.0, -1.0]))
    constants.append(helper.make_tensor("usual", TensorProto.FLOAT, [2], [6.0, -4.0]))
    outputs = [_number("prediction"), helper.make_tensor_value_info("contributions", TensorProto.FLOAT, [None, 2])]
    return _graph("telling", nodes, [_number(name) for name in NUMBERS], outputs, constants)


def deep_regression(layers: int) -> onnx.ModelProto:
    """prediction = what so many layers leave of (AT, V), which is nothing: it takes long to compile, and not to run."""
    random = np.random.default_rng(1)
    nodes, constants, width = [helper.make_node("Concat", list(NUMBERS), ["row_0"], axis=1)], [], len(NUMBERS)
    for layer in range(layers):
        weights = (random.normal(0, 0.1, (width, 8))).astype(np.float32)
        constants.append(onnx.numpy_helper.from_array(weights, f"weights_{layer}"))
        nodes.append(helper.make_node("MatMul", [f"row_{layer}", f"weights_{layer}"], [f"sum_{layer}"]))
        nodes.append(helper.make_node("Tanh", [f"sum_{layer}"], [f"row_{layer + 1}"]))
        width = 8
    constants.append(onnx.numpy_helper.from_array(np.ones((width, 1), np.float32), "last"))
    nodes.append(helper.make_node("MatMul", [f"row_{layers}", "last"], ["prediction"]))
    return _graph("deep", nodes, [_number(name) for name in NUMBERS], [_number("prediction")], constants)


def picky_regression() -> onnx.ModelProto:
    """prediction = table[AT] with a table of eight: fails on any AT that is no place in it."""
    nodes = [
        helper.make_node("Cast", ["AT"], ["place"], to=TensorProto.INT64),
        helper.make_node("Gather", ["table", "place"], ["found"], axis=0),
        helper.make_node("Add", ["found", "V"], ["prediction"]),
    ]
    table = helper.make_tensor("table", TensorProto.FLOAT, [8], [float(place) for place in range(8)])
    return _graph("picky", nodes, [_number(name) for name in NUMBERS], [_number("prediction")], [table])


def nan_regression() -> onnx.ModelProto:
    """prediction = log(AT): NaN below zero."""
    nodes = [helper.make_node("Log", ["AT"], ["log"]), helper.make_node("Add", ["log", "V"], ["prediction"])]
    return _graph("nan", nodes, [_number(name) for name in NUMBERS], [_number("prediction")], [])


def crashing_regression(depth: int = 100_000) -> onnx.ModelProto:
    """A tree that is one long branch: ONNX Runtime follows it by recursion, out of its stack (SIGSEGV)."""
    leaves = depth + 1
    ids = list(range(depth + leaves))
    tree = helper.make_node(
        "TreeEnsembleRegressor", ["AT"], ["tree"], domain="ai.onnx.ml", n_targets=1,
        nodes_treeids=[0] * len(ids), nodes_nodeids=ids, nodes_featureids=[0] * len(ids),
        nodes_modes=["BRANCH_LEQ"] * depth + ["LEAF"] * leaves, nodes_values=[0.0] * len(ids),
        nodes_hitrates=[1.0] * len(ids), nodes_missing_value_tracks_true=[0] * len(ids),
        nodes_truenodeids=[*range(1, depth + 1), *[0] * leaves],
        nodes_falsenodeids=[*range(depth + 1, 2 * depth + 1), *[0] * leaves],
        target_treeids=[0] * leaves, target_nodeids=ids[depth:], target_ids=[0] * leaves, target_weights=[1.0] * leaves,
    )  # fmt: skip
    nodes = [tree, helper.make_node("Add", ["tree", "V"], ["prediction"])]
    return _graph("crashing", nodes, [_number(name) for name in NUMBERS], [_number("prediction")], [])


def wooded_regression(trees: int = 100_000) -> onnx.ModelProto:
    """prediction = V + the sum of so many trees with one question each: reading it takes more than having it."""
    branch = [1, 0, 0] * trees
    forest = helper.make_node(
        "TreeEnsembleRegressor", ["AT"], ["forest"], domain="ai.onnx.ml", n_targets=1,
        nodes_treeids=[tree for tree in range(trees) for _ in range(3)], nodes_nodeids=[0, 1, 2] * trees,
        nodes_featureids=[0] * 3 * trees, nodes_values=[0.5, 0.0, 0.0] * trees,
        nodes_modes=["BRANCH_LEQ", "LEAF", "LEAF"] * trees, nodes_truenodeids=branch,
        nodes_falsenodeids=[2 * asks for asks in branch], nodes_missing_value_tracks_true=[0] * 3 * trees,
        target_treeids=[tree for tree in range(trees) for _ in range(2)],
        target_nodeids=[1, 2] * trees, target_ids=[0] * 2 * trees, target_weights=[1.0 / trees, 2.0 / trees] * trees,
    )  # fmt: skip
    nodes = [forest, helper.make_node("Add", ["forest", "V"], ["prediction"])]
    return _graph("wooded", nodes, [_number(name) for name in NUMBERS], [_number("prediction")], [])


def hungry_regression() -> onnx.ModelProto:
    """prediction = AT + the sum of max(V) ones: takes four bytes for each."""
    nodes = [
        helper.make_node("ReduceMax", ["V"], ["most"], keepdims=0),
        helper.make_node("Cast", ["most"], ["count"], to=TensorProto.INT64),
        helper.make_node("Unsqueeze", ["count", "axis"], ["shape"]),
        helper.make_node(
            "ConstantOfShape", ["shape"], ["ones"], value=helper.make_tensor("one", TensorProto.FLOAT, [1], [1.0])
        ),
        helper.make_node("ReduceSum", ["ones"], ["sum"], keepdims=0),
        helper.make_node("Add", ["AT", "sum"], ["prediction"]),
    ]
    axis = helper.make_tensor("axis", TensorProto.INT64, [1], [0])
    return _graph("hungry", nodes, [_number(name) for name in NUMBERS], [_number("prediction")], [axis])


def slow_regression() -> onnx.ModelProto:
    """prediction = sin(sin(... AT)), max(V) times over: about a microsecond for each."""
    count = helper.make_tensor_value_info("count", TensorProto.INT64, [])
    go, goes_on = (helper.make_tensor_value_info(name, TensorProto.BOOL, []) for name in ("go", "goes_on"))
    value, after = (helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("value", "after"))
    steps = [helper.make_node("Identity", ["go"], ["goes_on"]), helper.make_node("Sin", ["value"], ["after"])]
    body = helper.make_graph(steps, "body", [count, go, value], [goes_on, after])
    nodes = [
        helper.make_node("ReduceMax", ["V"], ["most"], keepdims=0),
        helper.make_node("Cast", ["most"], ["times"], to=TensorProto.INT64),
        helper.make_node("Loop", ["times", "", "AT"], ["prediction"], body=body),
    ]
    return _graph("slow", nodes, [_number(name) for name in NUMBERS], [_number("prediction")], [])


def classification() -> onnx.ModelProto:
    """Three classes from AT and the text `kind` (a: 1, b: 2, else 0); labels are texts."""
    kinds = helper.make_node(
        "LabelEncoder", ["kind"], ["code"], domain="ai.onnx.ml",
        keys_strings=["a", "b"], values_floats=[1.0, 2.0], default_float=0.0,
    )  # fmt: skip
    nodes = [
        kinds,
        helper.make_node("Concat", ["AT", "code"], ["row"], axis=1),
        helper.make_node("MatMul", ["row", "weights"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
        helper.make_node("ArgMax", ["probabilities"], ["best"], axis=1, keepdims=0),
        helper.make_node(
            "LabelEncoder", ["best"], ["prediction"], domain="ai.onnx.ml",
            keys_int64s=[0, 1, 2], values_strings=["low", "mid", "high"],
        ),
    ]  # fmt: skip
    weights = helper.make_tensor("weights", TensorProto.FLOAT, [2, 3], [-1.0, 0.0, 1.0, 0.0, 1.0, 0.0])
    inputs = [_number("AT"), helper.make_tensor_value_info("kind", TensorProto.STRING, [None, 1])]
    outputs = [
        helper.make_tensor_value_info("prediction", TensorProto.STRING, [None]),
        helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [None, 3]),
    ]
    return _graph("classification", nodes, inputs, outputs, [weights])


REGRESSION_INPUTS = (
    TensorSpec("AT", "float32", unit="C", low=0.0, high=40.0),
    TensorSpec("V", "float32", low=20.0, high=90.0),
)
REGRESSION_OUTPUTS = (TensorSpec("prediction", "float32"),)
CLASSIFICATION_INPUTS = (
    TensorSpec("AT", "float32", low=-5.0, high=5.0),
    TensorSpec("kind", "string", categories=("a", "b")),
)
CLASSIFICATION_OUTPUTS = (
    TensorSpec("prediction", "string", (None,)),
    TensorSpec("probabilities", "float32", (None, 3)),
)
CLASSES = ("low", "mid", "high")


def golden_columns(inputs: tuple[TensorSpec, ...], rows: int = 16) -> list[np.ndarray[Any, Any]]:
    random = np.random.default_rng(7)
    columns: list[np.ndarray[Any, Any]] = []
    for spec in inputs:
        if spec.dtype == "string":
            texts = np.array(["a", "b", "", "never seen"] * rows)[:rows]
            columns.append(texts.reshape(-1, 1))
        else:
            values = random.uniform(spec.low or 0, spec.high or 7, (rows, 1)).astype(np.float32)
            columns.append(values)
    return columns


def write_release(
    folder: Path,
    *,
    name: str = "ccpp",
    version: int = 1,
    model: onnx.ModelProto | None = None,
    golden_by: onnx.ModelProto | None = None,
    columns: list[np.ndarray[Any, Any]] | None = None,
    spoil: Callable[[list[np.ndarray[Any, Any]]], None] | None = None,
    **changes: Any,
) -> Manifest:
    """Write a whole release folder; `spoil` changes the golden outputs, `changes` the manifest.

    `golden_by` computes the golden outputs in the place of a model that cannot.
    """
    folder.mkdir(parents=True, exist_ok=True)
    model = model or regression()
    given = [node.name for node in model.graph.output]
    classifier = "probabilities" in given
    inputs = CLASSIFICATION_INPUTS if classifier else REGRESSION_INPUTS
    outputs = CLASSIFICATION_OUTPUTS if classifier else REGRESSION_OUTPUTS
    if "contributions" in given:
        outputs = (*outputs, TensorSpec("contributions", "float32", (None, len(inputs))))
        changes = {"contributions": Contributions("target", (12.0,)), **changes}
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    columns = columns or golden_columns(inputs)
    session = onnxruntime.InferenceSession((golden_by or model).SerializeToString(), providers=[CPU])
    fed = [column.astype(object) if column.dtype.kind == "U" else column for column in columns]
    found = session.run([spec.name for spec in outputs], {s.name: c for s, c in zip(inputs, fed, strict=True)})
    found = [output.astype(str) if output.dtype == object else output for output in found]
    if spoil:
        spoil(found)
    arrays = {f"input_{index}": column for index, column in enumerate(columns)}
    arrays |= {f"output_{index}": output for index, output in enumerate(found)}
    np.savez(folder / "golden.npz", **arrays)
    (folder / "reference").write_bytes(encode_reference(_reference(inputs)))
    files = {file: file_info(folder / file) for file in ("model.onnx", "golden.npz", "reference")}
    manifest = Manifest(
        model=name,
        version=version,
        task="classification" if classifier else "regression",
        target="PE",
        created="2026-01-01T00:00:00Z",
        files=files,
        inputs=inputs,
        outputs=outputs,
        opset={"": 17, "ai.onnx.ml": 3},
        operators=("MatMul",),
        providers={CPU: TOLERANCE},
        footprint=Footprint(1_000_000, 0.1, 0.2, "here"),
        lineage=Lineage("0" * 64, "made up", 16, NUMBERS, "PE", "0", {}, 0, 1.0, 1, {}),
        parity=ParityCertificate(TOLERANCE, (ParityCase("held-out", 16, 0.0, 0.0, 0, True),), "1"),
        metric="rmse",
        metrics={"rmse": 1.0},
        classes=CLASSES if classifier else (),
    )
    manifest = msgspec.structs.replace(manifest, **changes)
    (folder / "release.json").write_bytes(encode_manifest(manifest))
    return manifest


def add_variant(
    folder: Path, manifest: Manifest, data: bytes, tolerance: Tolerance, precision: Any = "int8"
) -> Manifest:
    """Add a variant to a release folder."""
    name = f"model.{precision}.onnx"
    (folder / name).write_bytes(data)
    variant = Variant(name, tolerance, "by hand", 0.0, 0.0, 0)
    files = {**manifest.files, name: file_info(folder / name)}
    variants = {**manifest.variants, precision: variant}
    manifest = msgspec.structs.replace(manifest, files=files, variants=variants, v=EXTENDED_VERSION)
    (folder / "release.json").write_bytes(encode_manifest(manifest))
    return manifest


def file_info(path: Path) -> FileInfo:
    data = path.read_bytes()
    return FileInfo(hashlib.sha256(data).hexdigest(), len(data))


def _reference(inputs: tuple[TensorSpec, ...]) -> ReferenceProfile:
    numeric = {spec.name: NumericSketch().summary() for spec in inputs if spec.dtype == "float32"}
    return ReferenceProfile(0, numeric, {}, {"prediction": NumericSketch().summary()})
