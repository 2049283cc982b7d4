"""Contributions of a live prediction, in the graph: a further output, where the model is a sum over raw columns.

Linear models are such a sum, and boosted trees that look at one raw column each. The part of each column, less its mean
over usual rows, is its Shapley value, in the unit of the sum (the target's, log-odds of a classifier): no sampling.
The output `contributions` has the shape (rows, raw columns); `base` and its sum over a row are the sum that the
prediction is made of.

Source: Lundberg, Lee, "A Unified Approach to Interpreting Model Predictions", corollary 1 (linear models); Hastie,
Tibshirani, "Generalized Additive Models".
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from protocols.manifest import CONTRIBUTIONS, Contributions, TensorSpec
from trainer.errors import NotAdditiveError
from trainer.graph.builder import FLOAT, GraphBuilder
from trainer.graph.encoded import Array, Encoded
from trainer.graph.featurizer import Featurizer
from trainer.graph.form import ROWS
from trainer.graphs import open_graph
from trainer.guardrails.rail import evenly
from trainer.pieces import DensePiece, Piece, TreePiece

#: Rows over which contributions are centred.
USUAL_ROWS = 2_000

_SEVERAL = "a tree looks at more than one raw column"
_MEAN = "it is a mean of several models' probabilities, and no sum over columns; a single fit is one"


@dataclass(frozen=True, slots=True)
class LiveContributions:
    """What a graph needs to tell them, and what a manifest says of them.

    Attributes:
        parts: computes each raw column's part of each sum, shape (rows, sums x raw columns).
        means: of the parts over usual rows.
        scale: what a part less its mean is multiplied by.
    """

    parts: Piece
    means: Array
    scale: float
    told: Contributions

    def write(self, builder: GraphBuilder, matrix: str, probabilities: str | None) -> None:
        """Add the output; of more than two classes the contributions to the score of the row's own answer."""
        sums = len(self.told.base)
        centred = builder.add("Sub", self.parts.write(builder, matrix), builder.constant(self.means, np.float32))
        found = builder.add("Mul", centred, builder.constant(np.float32(self.scale)))
        width = len(self.means) // sums
        if sums > 1:
            by_class = builder.add("Reshape", found, builder.constant([-1, sums, width], np.int64))
            answer = builder.add("ArgMax", probabilities or "", axis=1, keepdims=1)
            found = builder.add("GatherND", by_class, answer, batch_dims=1)
        builder.output(found, CONTRIBUTIONS, FLOAT, [ROWS, width])


def live_contributions(
    piece: Piece,
    featurizer: Featurizer,
    rows: Encoded,
    width: int,
    classes: Sequence[str],
    temperature: float,
    alarm: str | None = None,
) -> LiveContributions:
    """Return the contributions of a single model.

    Args:
        piece: what it computes of the featurizer's matrix.
        rows: those that stand for *as usual*.
        width: how many raw columns there are.
        classes: of a classifier, in the order of its probabilities.
        temperature: that the sums are divided by before they become probabilities.
        alarm: of two classes the one in question; None: the rarer one.

    Raises:
        NotAdditiveError: the model is no sum over raw columns; the text says why.
    """
    parts, base = column_parts(piece, featurizer.origins(rows), width)
    means = _means(parts, featurizer.transform(rows.take(evenly(len(rows), USUAL_ROWS))))
    usual = base + means.reshape(len(base), width).sum(axis=1)
    scale, of = 1.0 / temperature, None
    unit: Literal["target", "log-odds", "score"] = "target" if not classes else "log-odds"
    if len(classes) == 2:
        first = usual[0] > 0 if alarm is None else alarm == classes[0]
        scale, of = (-scale, classes[0]) if first else (scale, classes[1])
    elif len(usual) > 1:
        unit = "score"
    return LiveContributions(parts, means, scale, Contributions(unit, tuple((scale * usual).tolist()), of))


@dataclass(frozen=True, slots=True)
class _WeightedColumns:
    """The part of each raw column in each sum: a few products, where a dense layer has its width squared.

    Attributes:
        places: columns of the matrix by raw column, shape (raw columns, most); where there are fewer, any.
        weights: shape (sums, raw columns, most), 0 where there are fewer.
    """

    places: Array
    weights: Array

    @classmethod
    def of(cls, weights: Array, origins: Array, width: int) -> "_WeightedColumns":
        """Args: weights: shape (matrix columns, sums). origins: of the matrix columns."""
        order = np.argsort(origins, kind="stable")
        counts = np.bincount(origins, minlength=width)
        starts = np.cumsum(counts) - counts
        rank = np.arange(len(origins)) - starts[origins[order]]
        places = np.zeros((width, max(int(counts.max(initial=0)), 1)), dtype=np.int64)
        spread = np.zeros((weights.shape[1], *places.shape))
        places[origins[order], rank] = order
        spread[:, origins[order], rank] = weights[order].T
        return cls(places, spread)

    def write(self, builder: GraphBuilder, matrix: str) -> str:
        sums, width, most = self.weights.shape
        found = builder.add("Gather", matrix, builder.constant(self.places.reshape(-1), np.int64), axis=1)
        found = builder.add("Reshape", found, builder.constant([-1, 1, width, most], np.int64))
        found = builder.add("Mul", found, builder.constant(self.weights, np.float32))
        found = builder.add("ReduceSum", found, builder.constant([3], np.int64), keepdims=0)
        return builder.add("Reshape", found, builder.constant([-1, sums * width], np.int64))


def contribution_spec(width: int) -> TensorSpec:
    """Describe the output in a manifest, after the others."""
    return TensorSpec(CONTRIBUTIONS, "float32", shape=(None, width))


def column_parts(piece: Piece, origins: Array, width: int) -> tuple[Piece, Array]:
    """Take a sum over raw columns apart: a piece that computes (rows, sums x raw columns), and the sums' bases.

    Args:
        origins: for each column of the matrix the raw column that it comes from.
        width: how many raw columns there are.

    Raises:
        NotAdditiveError: it is no such sum; the text says why.
    """
    if isinstance(piece, TreePiece):
        return _of_trees(piece, origins, width)
    if isinstance(piece, DensePiece):
        return _of_weights(piece, origins, width)
    raise NotAdditiveError(f"{type(piece).__name__} is no sum over columns; linear models and boosted trees may be")


def _of_weights(piece: DensePiece, origins: Array, width: int) -> tuple[Piece, Array]:
    if len(piece.layers) != 1:
        raise NotAdditiveError("a network is no sum over columns")
    ((weights, base),) = piece.layers
    if weights.ndim == 3:
        if piece.link != "none":
            raise NotAdditiveError(_MEAN)
        weights, base = weights.mean(axis=0), base.mean(axis=0)
    base = np.ravel(base).astype(np.float64)
    return _WeightedColumns.of(weights, origins, width), base


def _of_trees(piece: TreePiece, origins: Array, width: int) -> tuple[Piece, Array]:
    if piece.bags > 1:
        raise NotAdditiveError(_MEAN)
    if piece.values.shape[1] > 1:
        raise NotAdditiveError("a forest votes for all classes at once, and is no sum over columns")
    base, target, values = piece.base.astype(np.float64), piece.target.copy(), piece.values.copy()
    ends = [*piece.first[1:].tolist(), len(piece.feature)]
    for tree, (start, end) in enumerate(zip(piece.first.tolist(), ends, strict=True)):
        used = np.unique(origins[piece.feature[start:end][~piece.leaf[start:end].astype(bool)]])
        if len(used) > 1:
            raise NotAdditiveError(_SEVERAL)
        if not len(used):  # a lone leaf looks at no column
            base[target[tree]] += float(values[start, 0])
            values[start] = 0.0
        target[tree] = target[tree] * width + (int(used[0]) if len(used) else 0)
    return replace(piece, target=target, values=values, base=np.zeros(len(base) * width), link="none"), base


def _means(parts: Piece, matrix: Array) -> Array:
    """Mean of each part, as ONNX Runtime computes it, shape (sums x raw columns,)."""
    builder = GraphBuilder([("matrix", FLOAT)], width=matrix.shape[1])
    builder.output(parts.write(builder, "matrix"), "parts", FLOAT, [ROWS, "parts"])
    (found,) = open_graph(builder.finish()).run(None, {"matrix": matrix})
    return np.asarray(found.astype(np.float64).mean(axis=0))
