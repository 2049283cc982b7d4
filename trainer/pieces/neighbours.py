"""Nearest neighbours: the mean of what the closest learned rows had."""

from dataclasses import dataclass

import numpy as np
from onnx import TensorProto

from trainer.graph.builder import GraphBuilder
from trainer.graph.encoded import Array
from trainer.pieces.kernel import squared_distances, write_distances

#: Added to a distance before it is inverted: a row that was learned from counts much, but not for ever.
NEAREST = 1e-2
#: Rows whose distances are held at a time.
CHUNK_ROWS = 512


@dataclass(frozen=True, slots=True)
class NeighboursPiece:
    """Distances are in float64, so that near ties fall as they fell in training.

    Attributes:
        landmarks: float64, the rows learned from, shape (rows, width).
        answers: float32, what they had, shape (rows, outputs).
        near: how many neighbours answer.
        weighted: by the inverse of their distance.
    """

    landmarks: Array
    answers: Array
    near: int
    weighted: bool

    def write(self, builder: GraphBuilder, matrix: str) -> str:
        rows = builder.add("Cast", matrix, to=TensorProto.DOUBLE)
        distance = write_distances(builder, rows, self.landmarks)
        closest, places = builder.add_many(
            "TopK", distance, builder.constant([self.near], np.int64), outputs=2, axis=1, largest=0, sorted=1
        )
        found = builder.add("Gather", builder.constant(self.answers, np.float32), places, axis=0)
        if not self.weighted:
            return builder.add("ReduceMean", found, axes=[1], keepdims=0)
        away = builder.add("Sqrt", closest)
        away = builder.add("Add", away, builder.constant(NEAREST, np.float64))
        weights = builder.add("Cast", builder.add("Reciprocal", away), to=TensorProto.FLOAT)
        total = builder.add("ReduceSum", weights, builder.constant([1], np.int64), keepdims=1)
        shares = builder.add("Unsqueeze", builder.add("Div", weights, total), builder.constant([2], np.int64))
        return builder.add("ReduceSum", builder.add("Mul", found, shares), builder.constant([1], np.int64), keepdims=0)

    def predict(self, matrix: Array) -> Array:
        """The same in numpy: shape (rows, outputs)."""
        parts = []
        for start in range(0, len(matrix), CHUNK_ROWS):
            distance = squared_distances(matrix[start : start + CHUNK_ROWS].astype(np.float64), self.landmarks)
            places = np.argsort(distance, axis=1, kind="stable")[:, : self.near]
            found = self.answers[places]
            if not self.weighted:
                parts.append(found.mean(axis=1))
                continue
            weights = 1.0 / (np.sqrt(np.take_along_axis(distance, places, axis=1)) + NEAREST)
            parts.append((found * (weights / weights.sum(axis=1, keepdims=True))[:, :, None]).sum(axis=1))
        return np.concatenate(parts)
