"""The interface of pieces, and the links from a margin to what is predicted."""

from typing import Literal, Protocol

import numpy as np

from trainer.graph.builder import GraphBuilder

#: none: the margin is the prediction, or are the probabilities. sigmoid: one margin, that of the second of two classes.
#: softmax: a margin for each class.
Link = Literal["none", "sigmoid", "softmax"]


class Piece(Protocol):
    """A part of a graph that computes what a fitted model computes."""

    def write(self, builder: GraphBuilder, matrix: str) -> str:
        """Add the nodes and return the tensor of the result, float32 (rows, outputs)."""


def write_link(builder: GraphBuilder, margin: str, link: Link, axis: int = 1) -> str:
    """Add what makes probabilities of margins, which lie along an axis."""
    if link == "none":
        return margin
    if link == "softmax":
        return builder.add("Softmax", margin, axis=axis)
    second = builder.add("Sigmoid", margin)
    first = builder.add("Sub", builder.constant(np.float32(1.0)), second)
    return builder.add("Concat", first, second, axis=axis)


def write_mean(builder: GraphBuilder, tensor: str, axis: int) -> str:
    """Add the mean along an axis, which is gone then."""
    return builder.add("ReduceMean", tensor, axes=[axis], keepdims=0)
