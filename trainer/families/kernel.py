"""Kernel models: logistic and ridge regression over similarities to some of the rows."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from sklearn.linear_model import Ridge

from trainer.families.family import Parameters, Plain, Rows, Settled, Shape
from trainer.families.linear import linked, logistic
from trainer.graph.encoded import Array
from trainer.graph.featurizer import MatrixKind
from trainer.pieces import KernelPiece, Piece
from trainer.pieces.kernel import similarity

#: Directions in which the landmarks hardly differ are left out: their weights would be noise.
LEAST_SHARE = 1e-7


@dataclass(frozen=True, slots=True)
class KernelModel:
    """Its piece is the model."""

    computed: KernelPiece

    def predict(self, matrix: Array) -> Array:
        margin = self.computed.similarities(matrix) @ self.computed.weights + self.computed.bias
        return linked(margin, self.computed.link)

    def piece(self) -> Piece:
        return self.computed


class Kernel(Plain):
    """Source: Williams, Seeger, "Using the Nystroem Method to Speed Up Kernel Machines" (2001)."""

    name = "kernel"
    matrix: MatrixKind = "smooth"
    simplicity = 3
    several_fits = False

    def starts(self, shape: Shape) -> Sequence[Parameters]:
        return [
            {"reach": 1.0, "strength": 1e-2, "landmarks": 400},
            {"reach": 0.5, "strength": 1e-1, "landmarks": 400},
        ]

    def suggest(self, trial: Any, shape: Shape) -> Parameters:
        return {
            "reach": trial.suggest_float("reach", 0.2, 5.0, log=True),
            "strength": trial.suggest_float("strength", 1e-4, 1e1, log=True),
            "landmarks": trial.suggest_int("landmarks", 100, 800, log=True),
        }

    def fit(
        self, parameters: Parameters, settled: Settled, learn: Rows, validate: Rows | None, shape: Shape, seed: int
    ) -> KernelModel:
        """`reach` is the kernel's width beside the distance that rows have in the mean."""
        random = np.random.default_rng(seed)
        count = min(int(parameters["landmarks"] or 400), len(learn))
        picked = np.sort(random.permutation(len(learn))[:count])
        width = learn.matrix.shape[1]
        scale = np.full(width, float(parameters["reach"] or 1.0) * np.sqrt(width))
        piece = KernelPiece(
            "rbf",
            scale,
            learn.matrix[picked].astype(np.float64) / scale,
            np.zeros((count, 1)),
            np.zeros(1),
            "none",
        )
        between = similarity("rbf", _between(piece.landmarks))
        shares, directions = np.linalg.eigh(between)
        kept = shares > LEAST_SHARE * shares[-1]
        basis = directions[:, kept] / np.sqrt(shares[kept])
        seen = piece.similarities(learn.matrix) @ basis
        strength = float(parameters["strength"] or 1.0)
        if shape.task == "regression":
            ridge = Ridge(alpha=strength).fit(seen, learn.target)
            return KernelModel(
                replace(piece, weights=basis @ ridge.coef_.reshape(-1, 1), bias=np.atleast_1d(ridge.intercept_))
            )
        model = logistic(seen, learn.target, 1.0 / strength)
        return KernelModel(replace(piece, weights=basis @ model.weights, bias=model.bias, link=model.link))


def _between(landmarks: Array) -> Array:
    squares = (landmarks * landmarks).sum(axis=1)
    return np.asarray(np.maximum(squares[:, None] + squares[None, :] - 2.0 * landmarks @ landmarks.T, 0.0))
