"""Contributions of a live prediction, in the graph: a further output, where the model is a sum over raw columns.

The part of each column, less its mean over the rows learned from, is its Shapley value, in the unit of the sum (the
target's, log-odds of a classifier), with no sampling. The output `contributions` has the shape (rows, raw columns);
`base` and its sum over a row are the sum that the prediction is made of.

Source: Lundberg, Lee, "A Unified Approach to Interpreting Model Predictions", corollary 1 (linear models); Hastie,
Tibshirani, "Generalized Additive Models".
"""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from protocols.manifest import CONTRIBUTIONS, Contributions, TensorSpec
from trainer.additive import MATRIX, PARTS, Parts, parts_of
from trainer.errors import NotAdditiveError
from trainer.graph_format import ROWS, TARGET_OPSET, serialize
from trainer.graphs import open_graph

Array = np.ndarray[Any, Any]

#: Operators that an additive model becomes: their first input is the featurizer's matrix.
_MODELS = {"LinearClassifier", "LinearRegressor", "MatMul", "TreeEnsembleClassifier", "TreeEnsembleRegressor"}
_SHARES = "probabilities"


def add_contributions(
    graph: bytes,
    model: Any,
    origins: Sequence[int],
    width: int,
    background: Array,
    *,
    matrix: str | None = None,
    temperature: float = 1.0,
    classes: Sequence[str] = (),
) -> tuple[bytes, Contributions]:
    """Return the graph with the output `contributions`, and what a manifest says of it; other outputs stay as they are.

    Args:
        graph: of a featurizer and this model, with the outputs `prediction` and, of a classifier, `probabilities`.
        model: fitted: `HistGradientBoosting*`, `Ridge`, `LogisticRegression` or another with `coef_`; or its piece.
        origins: for each column of the matrix the raw column that it comes from (`featurizer.matrix_columns`).
        width: how many raw columns there are.
        background: the matrix of the rows learned from, or of some of them, shape (rows, matrix columns).
        matrix: the tensor that is the featurizer's matrix; None: what the one operator that is a model takes.
        classes: of a classifier's piece, as text.
        temperature: that the sums are divided by before they become probabilities.

    Raises:
        NotAdditiveError: the model is no sum over raw columns; the text says why.
    """
    proto = onnx.ModelProto.FromString(graph)
    if CONTRIBUTIONS in {entry.name for entry in proto.graph.input}:
        raise NotAdditiveError(f"an input is called {CONTRIBUTIONS!r}, as the output would be: rename the column")
    parts = parts_of(model, np.asarray(origins), width)
    means = _means(parts, background)
    base = parts.base + means.reshape(len(parts.base), width).sum(axis=1)
    classes = list(classes) or [str(label) for label in getattr(model, "classes_", ())]
    followed, scale = None, 1.0 / temperature
    if len(classes) == 2:  # the rarer one is the one that people ask about
        followed, scale = (classes[0], -scale) if base[0] > 0 else (classes[1], scale)
    nodes, constants = _output(parts, means, scale, width)
    own = {MATRIX: matrix or _matrix_of(proto), CONTRIBUTIONS: CONTRIBUTIONS, _SHARES: _SHARES}
    _insert(proto, nodes, constants, own)
    proto.graph.output.append(helper.make_tensor_value_info(CONTRIBUTIONS, TensorProto.FLOAT, [ROWS, width]))
    unit: Literal["target", "log-odds", "score"] = "score"
    if len(base) == 1:
        unit = "log-odds" if classes else "target"
    return serialize(proto), Contributions(unit, tuple(float(scale * value) for value in base), followed)


def contribution_spec(width: int) -> TensorSpec:
    """Describe the output in a manifest, after the others."""
    return TensorSpec(CONTRIBUTIONS, "float32", shape=(None, width))


def _matrix_of(proto: onnx.ModelProto) -> str:
    """Return what the one node that is the model takes."""
    models = [node for node in proto.graph.node if node.op_type in _MODELS]
    if len(models) != 1:
        raise NotAdditiveError(f"the graph holds {len(models)} models, and contributions are of a single one")
    return str(models[0].input[0])


def _means(parts: Parts, background: Array) -> Array:
    """Mean of each part over the background, as ONNX Runtime computes it, shape (sums x columns,)."""
    matrix = np.ascontiguousarray(background, dtype=np.float32)
    shape = [None, matrix.shape[1]]
    alone = helper.make_model(
        helper.make_graph(
            [parts.node],
            PARTS,
            [helper.make_tensor_value_info(MATRIX, TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info(PARTS, TensorProto.FLOAT, None)],
            list(parts.constants),
        ),
        opset_imports=[helper.make_opsetid(domain, version) for domain, version in TARGET_OPSET.items()],
        ir_version=8,
    )
    (found,) = open_graph(alone.SerializeToString()).run([PARTS], {MATRIX: matrix})
    return np.asarray(found.astype(np.float64).mean(axis=0))


def _output(
    parts: Parts, means: Array, scale: float, width: int
) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    """From parts to the output: less their means, scaled; of more than two classes those of the row's answer."""
    sums = len(parts.base)
    constants = [
        *parts.constants,
        numpy_helper.from_array(means.astype(np.float32), "means"),
        numpy_helper.from_array(np.array(scale, dtype=np.float32), "scale"),
    ]
    nodes = [parts.node, helper.make_node("Sub", [PARTS, "means"], ["centred"])]
    if sums == 1:
        return [*nodes, helper.make_node("Mul", ["centred", "scale"], [CONTRIBUTIONS])], constants
    constants.append(numpy_helper.from_array(np.array([-1, sums, width], dtype=np.int64), "shape"))
    picked = [
        helper.make_node("Mul", ["centred", "scale"], ["scaled"]),
        helper.make_node("Reshape", ["scaled", "shape"], ["by class"]),
        helper.make_node("ArgMax", [_SHARES], ["answer"], axis=1, keepdims=1),
        helper.make_node("GatherND", ["by class", "answer"], [CONTRIBUTIONS], batch_dims=1),
    ]
    return [*nodes, *picked], constants


def _insert(
    proto: onnx.ModelProto,
    nodes: Sequence[onnx.NodeProto],
    constants: Sequence[onnx.TensorProto],
    own: dict[str, str],
) -> None:
    """Put nodes at the graph's end; `own` names what is the graph's, everything else gets a name that nothing has."""
    graph = proto.graph
    taken = {entry.name for entry in [*graph.input, *graph.output, *graph.initializer]}
    taken |= {name for node in graph.node for name in node.output}
    prefix = PARTS
    while any(name.startswith(f"{prefix}/") for name in taken):
        prefix += "s"
    for index, node in enumerate(nodes):
        node.name = f"{prefix}{index}"
        node.input[:] = [own.get(name, f"{prefix}/{name}") for name in node.input]
        node.output[:] = [own.get(name, f"{prefix}/{name}") for name in node.output]
    for tensor in constants:
        tensor.name = f"{prefix}/{tensor.name}"
    graph.node.extend(nodes)
    graph.initializer.extend(constants)
