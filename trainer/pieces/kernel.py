"""Kernel models: similarity to rows that were learned from, times weights."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from onnx import TensorProto

from trainer.graph.builder import GraphBuilder
from trainer.graph.encoded import Array
from trainer.pieces.piece import Link, write_link

Kernel = Literal["rbf", "matern52"]


@dataclass(frozen=True, slots=True)
class KernelPiece:
    """Computed in float64: weights that nearly cancel out would lose their sum in float32.

    Attributes:
        scale: what each matrix column is divided by, shape (width,).
        landmarks: rows, already divided, shape (landmarks, width).
        weights: shape (landmarks, outputs).
        bias: shape (outputs,).
    """

    kernel: Kernel
    scale: Array
    landmarks: Array
    weights: Array
    bias: Array
    link: Link

    def write(self, builder: GraphBuilder, matrix: str) -> str:
        double = TensorProto.DOUBLE
        rows = builder.add("Cast", matrix, to=double)
        rows = builder.add("Div", rows, builder.constant(self.scale[None], np.float64))
        distance = write_distances(builder, rows, self.landmarks)
        if self.kernel == "rbf":
            similar = builder.add("Exp", builder.add("Mul", distance, builder.constant(-0.5, np.float64)))
        else:
            root = builder.add("Sqrt", builder.add("Mul", distance, builder.constant(5.0, np.float64)))
            third = builder.add("Mul", distance, builder.constant(5.0 / 3.0, np.float64))
            one = builder.constant(1.0, np.float64)
            polynomial = builder.add("Add", builder.add("Add", root, third), one)
            similar = builder.add("Mul", polynomial, builder.add("Exp", builder.add("Neg", root)))
        product = builder.add("MatMul", similar, builder.constant(self.weights, np.float64))
        margin = builder.add("Add", product, builder.constant(self.bias, np.float64))
        return write_link(builder, builder.add("Cast", margin, to=TensorProto.FLOAT), self.link)

    def similarities(self, matrix: Array) -> Array:
        """The same in numpy: shape (rows, landmarks)."""
        distance = squared_distances(matrix.astype(np.float64) / self.scale, self.landmarks)
        return similarity(self.kernel, distance)


def similarity(kernel: Kernel, distance: Array) -> Array:
    """Of squared distances."""
    if kernel == "rbf":
        return np.asarray(np.exp(-0.5 * distance))
    root = np.sqrt(5.0 * distance)
    return np.asarray((1.0 + root + distance * (5.0 / 3.0)) * np.exp(-root))


def squared_distances(rows: Array, landmarks: Array) -> Array:
    """Shape (rows, landmarks), float64."""
    squares = (rows * rows).sum(axis=1)[:, None] + (landmarks * landmarks).sum(axis=1)[None, :]
    return np.asarray(np.maximum(squares - 2.0 * rows @ landmarks.T, 0.0))


def write_distances(builder: GraphBuilder, rows: str, landmarks: Array) -> str:
    """Add squared distances of float64 rows to landmarks; shape (rows, landmarks)."""
    lengths = builder.add("ReduceSumSquare", rows, axes=[1], keepdims=1)
    fixed = builder.constant((landmarks * landmarks).sum(axis=1)[None], np.float64)
    product = builder.add("MatMul", rows, builder.constant(-2.0 * landmarks.T, np.float64))
    distance = builder.add("Add", builder.add("Add", lengths, fixed), product)
    return builder.add("Max", distance, builder.constant(0.0, np.float64))
