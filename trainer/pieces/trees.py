"""Trees: any number of them, bags of bags too, as one operator."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from trainer.graph.builder import GraphBuilder
from trainer.graph.encoded import Array
from trainer.pieces.piece import Link, write_link, write_mean


@dataclass(frozen=True, slots=True)
class TreePiece:
    """Trees whose leaves add up, in nodes one after the other; a node's children are counted within its tree.

    A row goes left where its value is at most the threshold, or where it is missing and `missing_left` says so.

    Attributes:
        first: where each tree's nodes begin, shape (trees,).
        feature, threshold, left, right, missing_left, leaf: shape (nodes,).
        values: what a leaf adds to so many outputs, float32, shape (nodes, targets).
        target: the first of the outputs that each tree adds to, shape (trees,).
        base: what the sum begins with, shape (outputs,).
        bags: how many models these are: the outputs of each follow one another, and the mean of what they give counts.
    """

    first: Array
    feature: Array
    threshold: Array
    left: Array
    right: Array
    missing_left: Array
    leaf: Array
    values: Array
    target: Array
    base: Array
    link: Link
    bags: int = 1

    def write(self, builder: GraphBuilder, matrix: str) -> str:
        outputs = len(self.base)
        sizes = np.diff(np.append(self.first, len(self.feature)))
        tree = np.repeat(np.arange(len(self.first)), sizes)
        node = np.arange(len(self.feature)) - np.repeat(self.first, sizes)
        modes = np.where(self.leaf, "LEAF", "BRANCH_LEQ")
        margin = builder.add(
            "TreeEnsembleRegressor",
            matrix,
            domain="ai.onnx.ml",
            n_targets=outputs,
            aggregate_function="SUM",
            post_transform="NONE",
            base_values=_floats(self.base),
            nodes_treeids=tree.tolist(),
            nodes_nodeids=node.tolist(),
            nodes_featureids=np.where(self.leaf, 0, self.feature).tolist(),
            nodes_values=_floats(np.where(self.leaf, 0.0, self.threshold)),
            nodes_modes=modes.tolist(),
            nodes_truenodeids=np.where(self.leaf, 0, self.left).tolist(),
            nodes_falsenodeids=np.where(self.leaf, 0, self.right).tolist(),
            nodes_missing_value_tracks_true=np.where(self.leaf, 0, self.missing_left).astype(int).tolist(),
            **self._leaves(tree, node, outputs),
        )
        if self.bags == 1:
            return write_link(builder, margin, self.link)
        each = builder.constant([-1, self.bags, outputs // self.bags], np.int64)
        return write_mean(builder, write_link(builder, builder.add("Reshape", margin, each), self.link, axis=2), axis=1)

    def _leaves(self, tree: Array, node: Array, outputs: int) -> dict[str, Any]:
        places = np.flatnonzero(self.leaf)
        width = self.values.shape[1]
        return {
            "target_treeids": np.repeat(tree[places], width).tolist(),
            "target_nodeids": np.repeat(node[places], width).tolist(),
            "target_ids": (self.target[tree[places]][:, None] + np.arange(width)).reshape(-1).tolist(),
            "target_weights": _floats(self.values[places].reshape(-1)),
        }


def bag_trees(pieces: Sequence[TreePiece]) -> TreePiece:
    """Return one piece that computes the mean of what several give."""
    starts = np.cumsum([0, *[len(piece.feature) for piece in pieces[:-1]]])
    kept: dict[str, Any] = {
        name: np.concatenate([getattr(piece, name) for piece in pieces])
        for name in ("feature", "threshold", "left", "right", "missing_left", "leaf")
    }
    first = np.concatenate([piece.first + start for piece, start in zip(pieces, starts, strict=True)])
    base = np.concatenate([piece.base for piece in pieces])
    if pieces[0].link != "none":
        width = len(pieces[0].base)
        target = np.concatenate([piece.target + place * width for place, piece in enumerate(pieces)])
        values = np.concatenate([piece.values for piece in pieces])
        return TreePiece(first, **kept, values=values, target=target, base=base, link=pieces[0].link, bags=len(pieces))
    return TreePiece(
        first,
        **kept,
        values=(np.concatenate([piece.values for piece in pieces]) / len(pieces)).astype(np.float32),
        target=np.concatenate([piece.target for piece in pieces]),
        base=base.reshape(len(pieces), -1).mean(axis=0),
        link="none",
    )


def round_down(threshold: Array) -> Array:
    """Round thresholds down to float32, which changes no decision on float32 values."""
    with np.errstate(over="ignore"):
        rounded = threshold.astype(np.float32)
    above = rounded > threshold
    rounded[above] = np.nextafter(rounded[above], np.float32(-np.inf))
    return rounded


def _floats(values: Array) -> list[float]:
    return [float(value) for value in np.asarray(values, dtype=np.float32)]
