"""Forests: random and extremely random trees."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)

from trainer.families.family import Parameters, Plain, Rows, Settled, Shape
from trainer.graph.encoded import Array
from trainer.graph.featurizer import MatrixKind
from trainer.pieces import Piece, TreePiece
from trainer.pieces.trees import round_down


@dataclass(frozen=True, slots=True)
class ForestModel:
    """A fitted forest of scikit-learn."""

    fitted: Any

    def predict(self, matrix: Array) -> Array:
        if hasattr(self.fitted, "predict_proba"):
            return np.asarray(self.fitted.predict_proba(matrix))
        return np.asarray(self.fitted.predict(matrix)).reshape(-1, 1)

    def piece(self) -> Piece:
        trees = [member.tree_ for member in self.fitted.estimators_]
        sizes = [tree.node_count for tree in trees]
        left = np.concatenate([tree.children_left for tree in trees])
        values = np.concatenate([tree.value[:, 0, :] for tree in trees])
        if hasattr(self.fitted, "predict_proba"):
            values = values / values.sum(axis=1, keepdims=True)
        return TreePiece(
            first=np.cumsum([0, *sizes[:-1]]),
            feature=np.concatenate([tree.feature for tree in trees]),
            threshold=np.concatenate([tree.threshold for tree in trees]).astype(np.float32),
            left=left,
            right=np.concatenate([tree.children_right for tree in trees]),
            missing_left=np.concatenate([tree.missing_go_to_left for tree in trees]).astype(bool),
            leaf=left < 0,
            values=(values / len(trees)).astype(np.float32),
            target=np.zeros(len(trees), dtype=np.int64),
            base=np.zeros(values.shape[1]),
            link="none",
        )


class Forest(Plain):
    """Source: Breiman, "Random Forests"; Geurts, Ernst, Wehenkel, "Extremely randomized trees"."""

    name = "forest"
    matrix: MatrixKind = "raw"
    simplicity = 4
    several_fits = False

    def starts(self, shape: Shape) -> Sequence[Parameters]:
        share = 0.6 if shape.task == "regression" else 0.3
        return [
            {"kind": "extra", "trees": 80, "max_leaves": 512, "min_leaf": 2, "share": 0.8},
            {"kind": "random", "trees": 80, "max_leaves": 512, "min_leaf": 2, "share": share},
            {"kind": "extra", "trees": 80, "max_leaves": 1024, "min_leaf": 1, "share": share},
        ]

    def suggest(self, trial: Any, shape: Shape) -> Parameters:
        return {
            "kind": trial.suggest_categorical("kind", ["extra", "random"]),
            "trees": trial.suggest_int("trees", 40, 120, step=20),
            "max_leaves": trial.suggest_int("max_leaves", 64, 1024, log=True),
            "min_leaf": trial.suggest_int("min_leaf", 1, 16, log=True),
            "share": trial.suggest_float("share", 0.15, 1.0),
        }

    def fit(
        self, parameters: Parameters, settled: Settled, learn: Rows, validate: Rows | None, shape: Shape, seed: int
    ) -> ForestModel:
        random = parameters["kind"] == "random"
        if shape.task == "regression":
            made = RandomForestRegressor if random else ExtraTreesRegressor
        else:
            made = RandomForestClassifier if random else ExtraTreesClassifier
        model = made(
            n_estimators=parameters["trees"],
            max_leaf_nodes=parameters["max_leaves"],
            min_samples_leaf=parameters["min_leaf"],
            max_features=parameters["share"],
            n_jobs=1,
            random_state=seed,
        )
        model.fit(learn.matrix, learn.target)
        for member in model.estimators_:
            _round(member.tree_)
        return ForestModel(model)


def _round(tree: Any) -> None:
    """Round thresholds down to float32: a row's decision stays, and the graph has the same numbers."""
    tree.threshold[:] = round_down(tree.threshold)
