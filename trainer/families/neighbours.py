"""Nearest neighbours."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from trainer.families.family import Parameters, Plain, Rows, Settled, Shape
from trainer.graph.encoded import Array
from trainer.graph.featurizer import MatrixKind
from trainer.pieces import NeighboursPiece, Piece

#: Rows that are kept at most: each is part of the model.
MAX_ROWS = 4000


@dataclass(frozen=True, slots=True)
class NeighboursModel:
    """Its piece is the model."""

    computed: NeighboursPiece

    def predict(self, matrix: Array) -> Array:
        return self.computed.predict(matrix)

    def piece(self) -> Piece:
        return self.computed


class Neighbours(Plain):
    """Source: Cover, Hart, "Nearest neighbor pattern classification" (1967)."""

    name = "neighbours"
    matrix: MatrixKind = "smooth"
    simplicity = 2
    several_fits = False

    def starts(self, shape: Shape) -> Sequence[Parameters]:
        if shape.rows > 20 * MAX_ROWS:
            return []
        return [{"near": 12, "weighted": True}, {"near": 4, "weighted": True}]

    def suggest(self, trial: Any, shape: Shape) -> Parameters:
        return {
            "near": trial.suggest_int("near", 1, 50, log=True),
            "weighted": trial.suggest_categorical("weighted", [True, False]),
        }

    def fit(
        self, parameters: Parameters, settled: Settled, learn: Rows, validate: Rows | None, shape: Shape, seed: int
    ) -> NeighboursModel:
        picked = np.sort(np.random.default_rng(seed).permutation(len(learn))[:MAX_ROWS])
        target = learn.target[picked]
        answers = target[:, None] if shape.task == "regression" else np.eye(shape.classes)[target.astype(np.int64)]
        near = min(int(parameters["near"] or 1), len(picked))
        return NeighboursModel(
            NeighboursPiece(
                learn.matrix[picked].astype(np.float64),
                answers.astype(np.float32),
                near,
                bool(parameters["weighted"]),
            )
        )
