"""Linear models: ridge and logistic regression."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression, Ridge

from trainer.families.family import Parameters, Plain, Rows, Settled, Shape
from trainer.families.quiet import quietly
from trainer.graph.encoded import Array
from trainer.graph.featurizer import MatrixKind
from trainer.pieces import DensePiece, Link, Piece


@dataclass(frozen=True, slots=True)
class LinearModel:
    """Weights (width, margins) and bias (margins,)."""

    weights: Array
    bias: Array
    link: Link

    def predict(self, matrix: Array) -> Array:
        return linked(matrix.astype(np.float64) @ self.weights + self.bias, self.link)

    def piece(self) -> Piece:
        return DensePiece(((self.weights, self.bias),), self.link)


def link_of(shape: Shape) -> Link:
    """Return what makes probabilities of the margins of a model that was fitted for a table of this shape."""
    return "none" if shape.task == "regression" else "softmax" if shape.classes > 2 else "sigmoid"


def linked(margin: Array, link: Link) -> Array:
    """Return probabilities of margins, or predictions, as `write_link` does in a graph."""
    if link == "none":
        return margin
    if link == "softmax":
        exact = np.exp(margin - margin.max(axis=1, keepdims=True))
        return np.asarray(exact / exact.sum(axis=1, keepdims=True))
    second = 1.0 / (1.0 + np.exp(-np.clip(margin, -700, 700)))
    return np.concatenate([1.0 - second, second], axis=1)


class Linear(Plain):
    """Source: Hastie, Tibshirani, Friedman, "The Elements of Statistical Learning", chapters 3 and 4."""

    name = "linear"
    matrix: MatrixKind = "scaled"
    simplicity = 0
    several_fits = False

    def starts(self, shape: Shape) -> Sequence[Parameters]:
        return [{"strength": 1.0}, {"strength": 0.03}, {"strength": 30.0}]

    def suggest(self, trial: Any, shape: Shape) -> Parameters:
        return {"strength": trial.suggest_float("strength", 1e-3, 1e4, log=True)}

    def fit(
        self, parameters: Parameters, settled: Settled, learn: Rows, validate: Rows | None, shape: Shape, seed: int
    ) -> LinearModel:
        strength = float(parameters["strength"] or 1.0)
        if shape.task == "regression":
            ridge = Ridge(alpha=strength).fit(learn.matrix.astype(np.float64), learn.target)
            return LinearModel(ridge.coef_.reshape(-1, 1), np.atleast_1d(ridge.intercept_), "none")
        return logistic(learn.matrix, learn.target, 1.0 / strength)


def logistic(matrix: Array, target: Array, inverse_strength: float) -> LinearModel:
    """Fit a logistic regression on rows that hold every class."""
    model = LogisticRegression(C=inverse_strength, max_iter=300)
    with quietly():
        model.fit(matrix.astype(np.float64), target)
    link: Link = "sigmoid" if len(model.classes_) == 2 else "softmax"
    return LinearModel(model.coef_.T, model.intercept_, link)
