"""Layers of a network; a linear model is one layer."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from trainer.graph.builder import GraphBuilder
from trainer.graph.encoded import Array
from trainer.pieces.piece import Link, write_link, write_mean


@dataclass(frozen=True, slots=True)
class DensePiece:
    """One network, or a bag of several of one form, whose mean counts.

    Attributes:
        layers: weights (inputs, outputs) and bias (outputs,) of each, applied in order with Relu between them; of a bag
            with an axis more in front.
    """

    layers: tuple[tuple[Array, Array], ...]
    link: Link

    def write(self, builder: GraphBuilder, matrix: str) -> str:
        tensor = matrix
        for place, (weights, bias) in enumerate(self.layers):
            product = builder.add("MatMul", tensor, builder.constant(weights, np.float32))
            tensor = builder.add("Add", product, builder.constant(bias, np.float32))
            if place + 1 < len(self.layers):
                tensor = builder.add("Relu", tensor)
        if self.layers[0][0].ndim == 2:
            return write_link(builder, tensor, self.link)
        return write_mean(builder, write_link(builder, tensor, self.link, axis=2), axis=0)


def bag_dense(pieces: Sequence[DensePiece]) -> DensePiece:
    """Return one piece that computes the mean of what several networks of one form give."""
    layers = [
        (np.stack([weights for weights, _ in layer]), np.stack([bias[None] for _, bias in layer]))
        for layer in zip(*(piece.layers for piece in pieces), strict=True)
    ]
    return DensePiece(tuple(layers), pieces[0].link)
