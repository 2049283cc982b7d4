"""Trees: any number of them, bags of bags too, divided among operators where one would load slowly.

Source: the operator TreeEnsemble of ai.onnx.ml 5, less than half the size of the one before it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
from onnx import TensorProto, numpy_helper

from trainer.graph.builder import INT64, GraphBuilder
from trainer.graph.encoded import Array
from trainer.pieces.piece import Link, write_link, write_mean

#: Codes of the operator: what becomes of the leaves' weights, of their sum, and when a row goes left.
_SUM, _NONE, _AT_MOST = 1, 0, 0
#: ONNX Runtime 1.23 to 1.32 reads an operator in a time that grows with its trees times its nodes: 0.1 s for so many.
LOADED_AT_ONCE = 500_000_000
#: Bytes that looking up takes in a row: of a tree's leaf, as a number and as a place, and of each of its values; and
#: those that it may take at once, since a batch has thousands of rows.
LEAF_BYTES, VALUE_BYTES, LOOKED_UP_AT_ONCE = 12, 4, 2048


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
        trees, outputs, width = self._branching(), len(self.base), self.values.shape[1]
        if width == 1:
            groups = _groups(0, len(trees.first), len(trees.feature))
            margins = [trees._sum(builder, matrix, *group, outputs) for group in groups]
        else:
            # A leaf of the operator adds to one output: here it tells its number, and its values are looked up.
            models = [np.flatnonzero(trees.target == first) for first in range(0, outputs, width)]
            looked_up = [trees._look_up(builder, matrix, int(own[0]), int(own[-1]) + 1) for own in models]
            margins = [builder.add("Concat", *looked_up, axis=1)]
        margin = builder.add("Sum", *margins, builder.constant(self.base, np.float32))
        if self.bags == 1:
            return write_link(builder, margin, self.link)
        each = builder.constant([-1, self.bags, outputs // self.bags], np.int64)
        return write_mean(builder, write_link(builder, builder.add("Reshape", margin, each), self.link, axis=2), axis=1)

    def _sum(self, builder: GraphBuilder, matrix: str, begin: int, end: int, outputs: int) -> str:
        """Add what computes the sum of the trees from `begin` to `end`, shape (rows, outputs)."""
        nodes, sizes = self._nodes(begin, end)
        leaf = self.leaf[nodes]
        target = np.repeat(self.target[begin:end], sizes)[leaf]
        return self._ensemble(builder, matrix, begin, end, target, self.values[nodes][leaf, 0], outputs)

    def _look_up(self, builder: GraphBuilder, matrix: str, begin: int, end: int) -> str:
        """Add what looks up the values of each tree's leaf and sums them, shape (rows, width)."""
        sums = []
        bytes_a_row = (end - begin) * (LEAF_BYTES + VALUE_BYTES * self.values.shape[1])
        least = -(-bytes_a_row // LOOKED_UP_AT_ONCE)
        for first, last in _groups(begin, end, self._nodes(begin, end)[1].sum(), least):
            nodes, sizes = self._nodes(first, last)
            leaf = self.leaf[nodes]
            tree = np.repeat(np.arange(last - first), sizes)[leaf]
            told = self._ensemble(builder, matrix, first, last, tree, np.arange(leaf.sum()), last - first)
            number = builder.add("Cast", told, to=INT64)
            values = builder.add("Gather", builder.constant(self.values[nodes][leaf], np.float32), number, axis=0)
            sums.append(builder.add("ReduceSum", values, builder.constant([1], np.int64), keepdims=0))
        return builder.add("Sum", *sums)

    def _ensemble(
        self, builder: GraphBuilder, matrix: str, begin: int, end: int, target: Array, weight: Array, outputs: int
    ) -> str:
        """Add the operator: each leaf of these trees adds its weight to its target, both in the order of the leaves."""
        nodes, sizes = self._nodes(begin, end)
        leaf, inner = self.leaf[nodes], ~self.leaf[nodes]
        root = np.cumsum([0, *sizes[:-1]])
        number = np.where(leaf, np.cumsum(leaf), np.cumsum(inner)) - 1
        left, right = (np.repeat(root, sizes)[inner] + side[nodes][inner] for side in (self.left, self.right))
        missing_left = self.missing_left[nodes][inner]
        return builder.add(
            "TreeEnsemble",
            matrix,
            domain="ai.onnx.ml",
            n_targets=outputs,
            aggregate_function=_SUM,
            post_transform=_NONE,
            tree_roots=number[root].tolist(),
            nodes_featureids=self.feature[nodes][inner].tolist(),
            nodes_splits=_tensor(self.threshold[nodes][inner], np.float32),
            nodes_modes=_tensor(np.full(inner.sum(), _AT_MOST), np.uint8),
            nodes_truenodeids=number[left].tolist(),
            nodes_trueleafs=leaf[left].astype(int).tolist(),
            nodes_falsenodeids=number[right].tolist(),
            nodes_falseleafs=leaf[right].astype(int).tolist(),
            leaf_targetids=target.tolist(),
            leaf_weights=_tensor(weight, np.float32),
            **({"nodes_missing_value_tracks_true": missing_left.astype(int).tolist()} if missing_left.any() else {}),
        )

    def _nodes(self, begin: int, end: int) -> tuple[slice, Array]:
        """The nodes of the trees from `begin` to `end`, and how many each has."""
        bounds = np.append(self.first, len(self.feature))[begin : end + 1]
        return slice(int(bounds[0]), int(bounds[-1])), np.diff(bounds)

    def _branching(self) -> "TreePiece":
        """The same with a question over two equal leaves for each lone leaf, which the operator cannot tell."""
        root = np.zeros(len(self.feature), dtype=bool)
        root[self.first] = True
        lone = root & self.leaf
        if not lone.any():
            return self
        taken = np.repeat(np.arange(len(lone)), np.where(lone, 3, 1))
        asks = lone[taken] & np.append(True, taken[1:] != taken[:-1])
        leaf, left, right = self.leaf[taken].astype(bool), self.left[taken], self.right[taken]
        leaf[asks], left[asks], right[asks] = False, 1, 2
        return replace(
            self,
            first=self.first + 2 * np.cumsum(np.append(0, lone[self.first][:-1])),
            feature=np.where(asks, 0, self.feature[taken]),
            threshold=np.where(asks, 0.0, self.threshold[taken]),
            left=left,
            right=right,
            missing_left=self.missing_left[taken] & ~asks,
            leaf=leaf,
            values=self.values[taken],
        )


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


def _groups(begin: int, end: int, nodes: int, least: int = 1) -> list[tuple[int, int]]:
    """Divide trees among operators, as evenly as goes: (first, end) of each."""
    count = int(np.clip((end - begin) * nodes // LOADED_AT_ONCE + 1, least, end - begin))
    bounds = np.linspace(begin, end, count + 1).astype(int).tolist()
    return list(pairwise(bounds))


def _tensor(values: Array, dtype: Any) -> TensorProto:
    return numpy_helper.from_array(np.ascontiguousarray(values, dtype=dtype))
