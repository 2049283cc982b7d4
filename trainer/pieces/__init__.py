"""What fitted models compute, as arrays that write themselves into a graph: no fitted model leaves its process.

Each takes the featurizer's matrix, float32 (rows, width), and gives float32 (rows, outputs): probabilities of each
class, or one prediction.
"""

from trainer.pieces.bagging import bag
from trainer.pieces.dense import DensePiece
from trainer.pieces.kernel import KernelPiece
from trainer.pieces.neighbours import NeighboursPiece
from trainer.pieces.piece import Link, Piece, write_link
from trainer.pieces.trees import TreePiece

__all__ = [
    "DensePiece",
    "KernelPiece",
    "Link",
    "NeighboursPiece",
    "Piece",
    "TreePiece",
    "bag",
    "write_link",
]
