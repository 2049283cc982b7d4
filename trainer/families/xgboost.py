"""Boosted trees by XGBoost, where the extra `boosting` is installed: they grow level by level."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np

from trainer.families.family import Parameters, Rows, Settled, Shape
from trainer.families.linear import link_of, linked
from trainer.families.quiet import quietly
from trainer.families.rounds import ByRounds, Stall, most_rounds, patience
from trainer.graph.encoded import Array
from trainer.graph.featurizer import MatrixKind
from trainer.pieces import Link, Piece, TreePiece


@dataclass(frozen=True, slots=True)
class ExtremeModel:
    """A fitted booster, how many of its rounds count, and the loss on the validation rows after 1, 2, ... rounds.

    Attributes:
        middle, spread: of the target of a regression; the booster has learned `(target - middle) / spread`.
    """

    fitted: Any
    rounds: int
    curve: Array
    link: Link
    outputs: int
    middle: float
    spread: float

    def predict(self, matrix: Array) -> Array:
        margin = self.fitted.inplace_predict(
            matrix, iteration_range=(0, self.rounds), predict_type="margin", missing=np.nan
        )
        exact = np.asarray(margin, dtype=np.float64).reshape(len(matrix), -1)
        return linked(exact * self.spread + self.middle, self.link)

    def piece(self) -> Piece:
        document = json.loads(bytes(self.fitted[: self.rounds].save_raw("json")))
        return _piece(document["learner"]["gradient_booster"]["model"], self)


class Extreme(ByRounds):
    """Source: Chen, Guestrin, "XGBoost: A Scalable Tree Boosting System" (2016)."""

    name = "xgboost"
    matrix: MatrixKind = "raw"
    simplicity = 3
    several_fits = True

    def starts(self, shape: Shape) -> Sequence[Parameters]:
        if find_spec("xgboost") is None:
            return []
        return [{"learning_rate": 0.06, "depth": 5, "least_weight": 2.0, "l2": 1.0, "share": 0.6, "rows": 0.8}]

    def suggest(self, trial: Any, shape: Shape) -> Parameters:
        return {
            "learning_rate": trial.suggest_float("learning_rate", 0.01, 0.2, log=True),
            "depth": trial.suggest_int("depth", 1, 10),
            "least_weight": trial.suggest_float("least_weight", 1e-2, 30.0, log=True),
            "l2": trial.suggest_float("l2", 1e-2, 30.0, log=True),
            "share": trial.suggest_float("share", 0.25, 1.0),
            "rows": trial.suggest_float("rows", 0.5, 0.95),
        }

    def fit(
        self, parameters: Parameters, settled: Settled, learn: Rows, validate: Rows | None, shape: Shape, seed: int
    ) -> ExtremeModel:
        import xgboost  # an extra

        rate = float(parameters["learning_rate"] or 0.1)
        regression, several = shape.task == "regression", shape.classes > 2
        objective = "reg:squarederror" if regression else "multi:softprob" if several else "binary:logistic"
        middle, spread = (float(learn.target.mean()), float(learn.target.std()) or 1.0) if regression else (0.0, 1.0)
        options = {
            "objective": objective,
            "eval_metric": "rmse" if regression else "mlogloss" if several else "logloss",
            "eta": rate,
            "max_depth": parameters["depth"],
            "min_child_weight": parameters["least_weight"],
            "lambda": parameters["l2"],
            "colsample_bynode": parameters["share"],
            "subsample": parameters["rows"],
            "tree_method": "hist",
            "base_score": 0.5 if objective == "binary:logistic" else 0.0,  # a margin of zero
            "seed": seed,
            "nthread": 1,
            "verbosity": 0,
        }
        if several:
            options["num_class"] = shape.classes
        data = xgboost.QuantileDMatrix(learn.matrix, (learn.target - middle) / spread, nthread=1)
        watch: dict[str, Any] = {}
        told: dict[str, Any] = {}
        if validate is not None:
            against = xgboost.QuantileDMatrix(validate.matrix, (validate.target - middle) / spread, ref=data, nthread=1)
            watch = {"evals": [(against, "unseen")], "evals_result": told, "callbacks": [_until_it_stalls(rate)]}
        with quietly():
            model = xgboost.train(options, data, most_rounds(settled, validate), verbose_eval=False, **watch)
        curve = np.array(next(iter(told["unseen"].values()))) if told else np.array([])
        outputs = shape.classes if several else 1
        return ExtremeModel(model, model.num_boosted_rounds(), curve, link_of(shape), outputs, middle, spread)


def _until_it_stalls(rate: float) -> Any:
    from xgboost.callback import TrainingCallback  # an extra

    class UntilItStalls(TrainingCallback):  # type: ignore[misc]
        def __init__(self) -> None:
            self._stall = Stall(patience(rate))

        def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
            return self._stall.after(next(iter(evals_log["unseen"].values()))[-1])

    return UntilItStalls()


def _piece(booster: Any, model: ExtremeModel) -> TreePiece:
    """Join the trees of a booster, as XGBoost's JSON schema describes them; a child below 0 is none."""
    trees = booster["trees"]

    def joined(name: str, dtype: Any) -> Array:
        return np.concatenate([np.asarray(tree[name], dtype=dtype) for tree in trees])

    sizes = [len(tree["left_children"]) for tree in trees]
    left, condition = joined("left_children", np.int64), joined("split_conditions", np.float32)
    leaf = left < 0
    return TreePiece(
        first=np.cumsum([0, *sizes[:-1]]),
        feature=joined("split_indices", np.int64),
        # A row goes left below the condition, so at most at the number before it.
        threshold=np.nextafter(condition, np.float32(-np.inf)),
        left=left,
        right=joined("right_children", np.int64),
        missing_left=joined("default_left", bool),
        leaf=leaf,
        values=(np.where(leaf, condition, np.float32(0.0)) * np.float32(model.spread)).astype(np.float32)[:, None],
        target=np.asarray(booster["tree_info"], dtype=np.int64),
        base=np.full(model.outputs, model.middle),
        link=model.link,
    )
