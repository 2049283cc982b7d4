"""Several models of one kind as one piece: the mean of what they give."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from trainer.graph.builder import GraphBuilder
from trainer.pieces.dense import DensePiece, bag_dense
from trainer.pieces.piece import Piece
from trainer.pieces.trees import TreePiece, bag_trees


@dataclass(frozen=True, slots=True)
class MeanPiece:
    """The mean of pieces of any kind."""

    pieces: tuple[Piece, ...]

    def write(self, builder: GraphBuilder, matrix: str) -> str:
        total = builder.add("Sum", *[piece.write(builder, matrix) for piece in self.pieces])
        return builder.add("Mul", total, builder.constant(np.float32(1.0 / len(self.pieces))))


def bag(pieces: Sequence[Piece]) -> Piece:
    """Return one piece for several; trees stay trees, and networks become one network."""
    if len(pieces) == 1:
        return pieces[0]
    trees = [piece for piece in pieces if isinstance(piece, TreePiece)]
    networks = [piece for piece in pieces if isinstance(piece, DensePiece)]
    if len(trees) == len(pieces):
        return bag_trees(trees)
    if len(networks) == len(pieces):
        return bag_dense(networks)
    return MeanPiece(tuple(pieces))
