"""Small networks."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.neural_network import MLPClassifier, MLPRegressor

from trainer.families.family import Parameters, Plain, Rows, Settled, Shape
from trainer.families.linear import link_of, linked
from trainer.families.quiet import quietly
from trainer.graph.encoded import Array
from trainer.graph.featurizer import MatrixKind
from trainer.pieces import DensePiece, Link, Piece

#: From so many rows on larger batches are tried first: a step takes as long with them.
MANY_ROWS = 2000


@dataclass(frozen=True, slots=True)
class NetworkModel:
    """Layers as in DensePiece, of float64."""

    layers: tuple[tuple[Array, Array], ...]
    link: Link

    def predict(self, matrix: Array) -> Array:
        values = matrix.astype(np.float64)
        for place, (weights, bias) in enumerate(self.layers):
            values = values @ weights + bias
            if place + 1 < len(self.layers):
                values = np.maximum(values, 0.0)
        return linked(values, self.link)

    def piece(self) -> Piece:
        return DensePiece(self.layers, self.link)


class Network(Plain):
    """Source: Kingma, Ba, "Adam: A Method for Stochastic Optimization", as in scikit-learn."""

    name = "network"
    matrix: MatrixKind = "smooth"
    simplicity = 3
    several_fits = True

    def starts(self, shape: Shape) -> Sequence[Parameters]:
        if shape.rows >= MANY_ROWS:
            return [{"width": 64, "depth": 2, "decay": 3e-1, "learning_rate": 3e-3, "batch": 128, "epochs": 60}]
        return [
            {"width": 64, "depth": 2, "decay": 1e-3, "learning_rate": 3e-3, "batch": 64, "epochs": 60},
            {"width": 128, "depth": 2, "decay": 1e-1, "learning_rate": 1e-3, "batch": 32, "epochs": 100},
        ]

    def suggest(self, trial: Any, shape: Shape) -> Parameters:
        return {
            "width": trial.suggest_int("width", 16, 192, log=True),
            "depth": trial.suggest_int("depth", 1, 3),
            "decay": trial.suggest_float("decay", 1e-5, 3.0, log=True),
            "learning_rate": trial.suggest_float("learning_rate", 5e-4, 1e-2, log=True),
            "batch": trial.suggest_categorical("batch", [32, 64, 128]),
            "epochs": trial.suggest_int("epochs", 20, 160, log=True),
        }

    def fit(
        self, parameters: Parameters, settled: Settled, learn: Rows, validate: Rows | None, shape: Shape, seed: int
    ) -> NetworkModel:
        made = MLPRegressor if shape.task == "regression" else MLPClassifier
        matrix, target = learn.matrix, learn.target
        middle, spread = 0.0, 1.0
        if shape.task == "regression":
            middle, spread = float(target.mean()), float(target.std()) or 1.0
            target = ((target - middle) / spread).astype(np.float32)
        batch = min(int(parameters["batch"] or 64), len(learn))
        epochs = int(parameters["epochs"] or 60)
        # Of long tables an epoch is long: as many steps as 8,000 rows would take are enough.
        epochs = max(4, min(epochs, int(epochs * 8000 / len(learn))))
        model = made(
            hidden_layer_sizes=(int(parameters["width"] or 64),) * int(parameters["depth"] or 1),
            alpha=float(parameters["decay"] or 0.0),
            learning_rate_init=parameters["learning_rate"],
            batch_size=batch,
            max_iter=epochs,
            n_iter_no_change=epochs,
            random_state=seed,
        )
        with quietly():
            model.fit(matrix, target)
        layers = [
            (weights.astype(np.float64), bias.astype(np.float64))
            for weights, bias in zip(model.coefs_, model.intercepts_, strict=True)
        ]
        if shape.task == "regression":
            weights, bias = layers[-1]
            layers[-1] = (weights * spread, bias * spread + middle)
        return NetworkModel(tuple(layers), link_of(shape))
