"""Boosted trees by scikit-learn's histograms; the number of rounds is what does best on all folds together."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

from trainer.families.family import Parameters, Rows, Settled, Shape
from trainer.families.linear import link_of, linked
from trainer.families.quiet import quietly
from trainer.families.rounds import ByRounds, most_rounds, patience
from trainer.fitting import round_thresholds
from trainer.graph.encoded import Array
from trainer.graph.featurizer import MatrixKind
from trainer.pieces import Link, Piece, TreePiece

#: What the rounds of the patience must gain together: of the log loss, and of the target's variance.
GAIN_CLASSES, GAIN = 2e-4, 1e-5


@dataclass(frozen=True, slots=True)
class BoostedModel:
    """Attributes:
    fitted: of scikit-learn.
    rounds: how many of its rounds count.
    curve: loss on the validation rows after 1, 2, ... rounds; empty where none were given.
    """

    fitted: Any
    rounds: int
    curve: Array
    link: Link

    def predict(self, matrix: Array) -> Array:
        kept = self.fitted._predictors
        self.fitted._predictors = kept[: self.rounds]
        try:
            margin = self.fitted._raw_predict(matrix.astype(np.float64), n_threads=1)
        finally:
            self.fitted._predictors = kept
        return linked(margin, self.link)

    def piece(self) -> Piece:
        return tree_piece(self.fitted, self.rounds, self.link)


class Boosted(ByRounds):
    """Source: Friedman, "Greedy Function Approximation"; Ke et al., "LightGBM"."""

    name = "boosted"
    matrix: MatrixKind = "raw"
    simplicity = 3
    several_fits = False  # where every column is looked at, nothing is drawn
    interactions: Any = None

    def starts(self, shape: Shape) -> Sequence[Parameters]:
        if find_spec("lightgbm") is not None:  # the same, some times quicker
            return []
        return [
            {"learning_rate": 0.1, "leaves": 31, "min_leaf": 20, "l2": 1e-3, "share": 1.0},
            {"learning_rate": 0.05, "leaves": 8, "min_leaf": 5, "l2": 1.0, "share": 0.5},
            {"learning_rate": 0.03, "leaves": 24, "min_leaf": 5, "l2": 0.1, "share": 0.7},
            {"learning_rate": 0.05, "leaves": 63, "min_leaf": 40, "l2": 5.0, "share": 0.5},
        ]

    def suggest(self, trial: Any, shape: Shape) -> Parameters:
        return {
            "learning_rate": trial.suggest_float("learning_rate", 0.015, 0.25, log=True),
            "leaves": trial.suggest_int("leaves", 4, 96, log=True),
            "min_leaf": trial.suggest_int("min_leaf", 2, 80, log=True),
            "l2": trial.suggest_float("l2", 1e-4, 20.0, log=True),
            "share": trial.suggest_float("share", 0.25, 1.0),
        }

    def fit(
        self, parameters: Parameters, settled: Settled, learn: Rows, validate: Rows | None, shape: Shape, seed: int
    ) -> BoostedModel:
        made = HistGradientBoostingRegressor if shape.task == "regression" else HistGradientBoostingClassifier
        share = float(parameters["share"] or 1.0)
        rate = float(parameters["learning_rate"] or 0.1)
        model = made(
            max_iter=most_rounds(settled, validate),
            learning_rate=rate,
            max_leaf_nodes=parameters["leaves"],
            min_samples_leaf=parameters["min_leaf"],
            l2_regularization=parameters["l2"],
            max_features=share,
            interaction_cst=self.interactions,
            categorical_features=None,
            early_stopping=validate is not None,
            n_iter_no_change=patience(rate) if validate is not None else 10,
            tol=GAIN_CLASSES if shape.classes else GAIN * float(np.var(learn.target)),
            random_state=seed,
        )
        against = {} if validate is None else {"X_val": validate.matrix, "y_val": validate.target}
        with quietly():
            model.fit(learn.matrix, learn.target, **against)
        round_thresholds(model)
        curve = np.array([]) if validate is None else -np.asarray(model.validation_score_[1:], dtype=np.float64)
        return BoostedModel(model, model.n_iter_, curve, link_of(shape))


class Additive(Boosted):
    """A generalised additive model: each tree looks at one column, so the effect of each can be drawn as a curve.

    Source: Lou, Caruana, Gehrke, "Intelligible Models for Classification and Regression" (2012).
    """

    name = "additive"
    simplicity = 1
    interactions = "no_interactions"

    def starts(self, shape: Shape) -> Sequence[Parameters]:
        return [{"learning_rate": 0.1, "leaves": 4, "min_leaf": 10, "l2": 1.0, "share": 1.0}]

    def suggest(self, trial: Any, shape: Shape) -> Parameters:
        return {
            "learning_rate": trial.suggest_float("learning_rate", 0.03, 0.25, log=True),
            "leaves": trial.suggest_int("leaves", 2, 12, log=True),
            "min_leaf": trial.suggest_int("min_leaf", 2, 60, log=True),
            "l2": trial.suggest_float("l2", 1e-3, 20.0, log=True),
            "share": 1.0,
        }


def tree_piece(model: Any, rounds: int, link: Link) -> TreePiece:
    """Take a fitted histogram model apart."""
    trees = [(tree.nodes, output) for stage in model._predictors[:rounds] for output, tree in enumerate(stage)]
    nodes = np.concatenate([tree for tree, _ in trees])
    sizes = [len(tree) for tree, _ in trees]
    return TreePiece(
        first=np.cumsum([0, *sizes[:-1]]),
        feature=nodes["feature_idx"].astype(np.int64),
        threshold=nodes["num_threshold"].astype(np.float32),
        left=nodes["left"].astype(np.int64),
        right=nodes["right"].astype(np.int64),
        missing_left=nodes["missing_go_to_left"].astype(bool),
        leaf=nodes["is_leaf"].astype(bool),
        values=nodes["value"].astype(np.float32)[:, None],
        target=np.array([output for _, output in trees]),
        base=np.asarray(model._baseline_prediction, dtype=np.float64).reshape(-1),
        link=link,
    )
