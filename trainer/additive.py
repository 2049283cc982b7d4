"""A fitted model as a sum over raw columns: linear models, and boosted trees that look at one raw column each."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from trainer.errors import NotAdditiveError

Array = np.ndarray[Any, Any]

#: What the nodes take, the featurizer's matrix, and what they give.
MATRIX, PARTS = "matrix", "parts"
#: Losses whose sum is the prediction itself, or its log-odds.
_PLAIN_LOSSES = {"squared_error", "absolute_error", "quantile", "log_loss"}
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
        origins: for each column of the matrix the raw column that it comes from.
        width: how many raw columns there are.

    Raises:
        NotAdditiveError: it is no such sum; the text says why.
    """
    if hasattr(model, "_predictors"):
        return _trees(model, origins, width)
    if hasattr(model, "coef_"):
        return _linear(model, origins, width)
    raise NotAdditiveError(f"{type(model).__name__} is no sum over columns; linear models and boosted trees may be")


def _linear(model: Any, origins: Array, width: int) -> Parts:
    weights = np.atleast_2d(np.asarray(model.coef_, dtype=np.float64))
    spread = np.zeros((len(origins), len(weights), width), dtype=np.float32)
    for column, origin in enumerate(origins):
        spread[column, :, origin] = weights[:, column]
    base = np.broadcast_to(np.ravel(model.intercept_).astype(np.float64), (len(weights),))
    return _weighted(spread.reshape(len(origins), -1), base.copy())


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
            raise NotAdditiveError(
                "a tree looks at more than one raw column, or at categories: fit it with "
                "interaction_cst='no_interactions' on a matrix of numbers"
            )
        if used:
            _add_tree(fields, number, nodes, place * width + used.pop())
        else:
            base[place] += float(nodes["value"][0])
    if not fields["nodes_treeids"]:
        return _weighted(np.zeros((len(origins), len(base) * width), dtype=np.float32), base)
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


def _add_tree(fields: dict[str, list[Any]], number: int, nodes: Array, target: int) -> None:
    for index, node in enumerate(nodes):
        leaf = bool(node["is_leaf"])
        fields["nodes_treeids"].append(number)
        fields["nodes_nodeids"].append(index)
        fields["nodes_featureids"].append(0 if leaf else int(node["feature_idx"]))
        fields["nodes_values"].append(0.0 if leaf else float(np.float32(node["num_threshold"])))
        fields["nodes_modes"].append("LEAF" if leaf else "BRANCH_LEQ")
        fields["nodes_truenodeids"].append(0 if leaf else int(node["left"]))
        fields["nodes_falsenodeids"].append(0 if leaf else int(node["right"]))
        fields["nodes_missing_value_tracks_true"].append(int(not leaf and bool(node["missing_go_to_left"])))
        if leaf:
            fields["target_treeids"].append(number)
            fields["target_nodeids"].append(index)
            fields["target_ids"].append(target)
            fields["target_weights"].append(float(node["value"]))
