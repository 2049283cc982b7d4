"""A fitted model as a sum over raw columns: linear models, and boosted trees that look at one raw column each."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from trainer.errors import NotAdditiveError
from trainer.pieces.dense import DensePiece
from trainer.pieces.trees import TreePiece

Array = np.ndarray[Any, Any]

#: What the nodes take, the featurizer's matrix, and what they give.
MATRIX, PARTS = "matrix", "parts"
#: Losses whose sum is the prediction itself, or its log-odds.
_PLAIN_LOSSES = {"squared_error", "absolute_error", "quantile", "log_loss"}
_SEVERAL = (
    "a tree looks at more than one raw column, or at categories: fit it with interaction_cst='no_interactions' on a "
    "matrix of numbers"
)
_MEAN = "it is a mean of several models' probabilities, and no sum over columns; a single fit is one"
_TREE_FIELDS = (
    "nodes_treeids",
    "nodes_nodeids",
    "nodes_featureids",
    "nodes_values",
    "nodes_modes",
    "nodes_truenodeids",
    "nodes_falsenodeids",
    "nodes_missing_value_tracks_true",
    "target_treeids",
    "target_nodeids",
    "target_ids",
    "target_weights",
)


@dataclass(frozen=True, slots=True)
class Parts:
    """`node` makes (rows, sums x raw columns) of the matrix; a row's parts of a sum and its `base` are that sum."""

    node: onnx.NodeProto
    constants: tuple[onnx.TensorProto, ...]
    base: Array


def parts_of(model: Any, origins: Array, width: int) -> Parts:
    """Return a fitted model as a sum; a classifier of more than two classes is a sum for each class.

    Args:
        model: of scikit-learn, or a piece that is neither a mean of probabilities nor a network.
        origins: for each column of the matrix the raw column that it comes from.
        width: how many raw columns there are.

    Raises:
        NotAdditiveError: it is no such sum; the text says why.
    """
    if isinstance(model, TreePiece):
        return _piece_of_trees(model, origins, width)
    if isinstance(model, DensePiece):
        return _piece_of_weights(model, origins, width)
    if hasattr(model, "_predictors"):
        return _trees(model, origins, width)
    if hasattr(model, "coef_"):
        return _linear(model, origins, width)
    raise NotAdditiveError(f"{type(model).__name__} is no sum over columns; linear models and boosted trees may be")


def _piece_of_weights(piece: DensePiece, origins: Array, width: int) -> Parts:
    if len(piece.layers) != 1:
        raise NotAdditiveError("a network is no sum over columns")
    (weights, base), *_ = piece.layers
    if weights.ndim == 3:
        if piece.link != "none":
            raise NotAdditiveError(_MEAN)
        weights, base = weights.mean(axis=0), base.mean(axis=0)
    return _spread(weights.T.astype(np.float64), np.ravel(base).astype(np.float64), origins, width)


def _piece_of_trees(piece: TreePiece, origins: Array, width: int) -> Parts:
    if piece.bags > 1:
        raise NotAdditiveError(_MEAN)
    if piece.values.shape[1] > 1 or not len(piece.target):
        raise NotAdditiveError("a forest votes for all classes at once, and is no sum over columns")
    base = piece.base.astype(np.float64)
    fields: dict[str, list[Any]] = {name: [] for name in _TREE_FIELDS}
    ends = [*piece.first[1:].tolist(), len(piece.feature)]
    for number, (start, end) in enumerate(zip(piece.first.tolist(), ends, strict=True)):
        place, leaf = int(piece.target[number]), piece.leaf[start:end].astype(bool)
        used = {int(origins[index]) for index in piece.feature[start:end][~leaf]}
        if len(used) > 1:
            raise NotAdditiveError(_SEVERAL)
        if not used:
            base[place] += float(piece.values[start, 0])
            continue
        _add_nodes(fields, number, place * width + used.pop(), [
            _Node(
                bool(piece.leaf[at]), int(piece.feature[at]), float(piece.threshold[at]), int(piece.left[at]),
                int(piece.right[at]), bool(piece.missing_left[at]), float(piece.values[at, 0]),
            )
            for at in range(start, end)
        ])  # fmt: skip
    return _tree_parts(fields, base, len(origins), width)


def _linear(model: Any, origins: Array, width: int) -> Parts:
    weights = np.atleast_2d(np.asarray(model.coef_, dtype=np.float64))
    base = np.broadcast_to(np.ravel(model.intercept_).astype(np.float64), (len(weights),))
    return _spread(weights, base.copy(), origins, width)


def _spread(weights: Array, base: Array, origins: Array, width: int) -> Parts:
    """Weights, shape (sums, matrix columns), so that a product has each raw column's share of each sum apart."""
    spread = np.zeros((len(origins), len(weights), width), dtype=np.float32)
    for column, origin in enumerate(origins):
        spread[column, :, origin] = weights[:, column]
    return _weighted(spread.reshape(len(origins), -1), base)


def _weighted(weights: Array, base: Array) -> Parts:
    constant = numpy_helper.from_array(weights, "weights")
    return Parts(helper.make_node("MatMul", [MATRIX, "weights"], [PARTS]), (constant,), base)


def _trees(model: Any, origins: Array, width: int) -> Parts:
    if getattr(model, "loss", "log_loss") not in _PLAIN_LOSSES:
        raise NotAdditiveError(f"with the loss {model.loss!r} the prediction is no sum; with squared_error it is")
    base = np.ravel(model._baseline_prediction).astype(np.float64)
    fields: dict[str, list[Any]] = {name: [] for name in _TREE_FIELDS}
    trees = [(place, tree.nodes) for stage in model._predictors for place, tree in enumerate(stage)]
    for number, (place, nodes) in enumerate(trees):
        inner = nodes[nodes["is_leaf"] == 0]
        used = {int(origins[index]) for index in inner["feature_idx"]}
        if len(used) > 1 or inner["is_categorical"].any():
            raise NotAdditiveError(_SEVERAL)
        if used:
            _add_nodes(fields, number, place * width + used.pop(), [_node(node) for node in nodes])
        else:
            base[place] += float(nodes["value"][0])
    return _tree_parts(fields, base, len(origins), width)


def _tree_parts(fields: dict[str, list[Any]], base: Array, columns: int, width: int) -> Parts:
    if not fields["nodes_treeids"]:
        return _weighted(np.zeros((columns, len(base) * width), dtype=np.float32), base)
    node = helper.make_node(
        "TreeEnsembleRegressor",
        [MATRIX],
        [PARTS],
        domain="ai.onnx.ml",
        n_targets=len(base) * width,
        post_transform="NONE",
        **fields,
    )
    return Parts(node, (), base)


@dataclass(frozen=True, slots=True)
class _Node:
    leaf: bool
    feature: int
    threshold: float
    left: int
    right: int
    missing_left: bool
    value: float


def _node(node: Any) -> _Node:
    return _Node(
        bool(node["is_leaf"]),
        int(node["feature_idx"]),
        float(np.float32(node["num_threshold"])),
        int(node["left"]),
        int(node["right"]),
        bool(node["missing_go_to_left"]),
        float(node["value"]),
    )


def _add_nodes(fields: dict[str, list[Any]], number: int, target: int, nodes: list[_Node]) -> None:
    for index, node in enumerate(nodes):
        fields["nodes_treeids"].append(number)
        fields["nodes_nodeids"].append(index)
        fields["nodes_featureids"].append(0 if node.leaf else node.feature)
        fields["nodes_values"].append(0.0 if node.leaf else node.threshold)
        fields["nodes_modes"].append("LEAF" if node.leaf else "BRANCH_LEQ")
        fields["nodes_truenodeids"].append(0 if node.leaf else node.left)
        fields["nodes_falsenodeids"].append(0 if node.leaf else node.right)
        fields["nodes_missing_value_tracks_true"].append(int(not node.leaf and node.missing_left))
        if node.leaf:
            fields["target_treeids"].append(number)
            fields["target_nodeids"].append(index)
            fields["target_ids"].append(target)
            fields["target_weights"].append(node.value)
