"""Boosted trees by LightGBM, where the extra `boosting` is installed: what `boosted` does, some times quicker."""

import re
from collections.abc import Callable, Sequence
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
from trainer.pieces.trees import round_down

#: Bits of LightGBM's `decision_type`: a missing value goes left; missing values are told apart from zero.
_DEFAULT_LEFT, _MISSING_NAN = 2, 8
#: LightGBM's kZeroThreshold: it reads numbers no farther from zero than this as zero.
_ZERO = np.float32(1e-35)


@dataclass(frozen=True, slots=True)
class LightModel:
    """A fitted booster, how many of its rounds count, and the loss on the validation rows after 1, 2, ... rounds."""

    fitted: Any
    rounds: int
    curve: Array
    link: Link
    outputs: int

    def predict(self, matrix: Array) -> Array:
        margin = self.fitted.predict(matrix, raw_score=True, num_iteration=self.rounds, num_threads=1)
        return linked(np.asarray(margin, dtype=np.float64).reshape(len(matrix), -1), self.link)

    def piece(self) -> Piece:
        text = self.fitted.model_to_string(num_iteration=self.rounds)
        return _trees([_Tree.read(block) for block in text.split("\nTree=")[1:]], self.outputs, self.link)


class Light(ByRounds):
    """Source: Ke et al., "LightGBM: A Highly Efficient Gradient Boosting Decision Tree" (2017)."""

    name = "lightgbm"
    matrix: MatrixKind = "raw"
    simplicity = 3
    several_fits = True

    def starts(self, shape: Shape) -> Sequence[Parameters]:
        if find_spec("lightgbm") is None:
            return []
        few: Parameters = {"learning_rate": 0.05, "leaves": 8, "min_leaf": 5, "l2": 1.0, "share": 0.5, "rows": 0.8}
        return [
            few,
            {"learning_rate": 0.03, "leaves": 24, "min_leaf": 4, "l2": 0.1, "share": 0.7, "rows": 0.7, "extra": True},
            {"learning_rate": 0.06, "leaves": 16, "min_leaf": 10, "l2": 0.3, "share": 0.6, "rows": 0.95},
            {"learning_rate": 0.1, "leaves": 31, "min_leaf": 20, "l2": 1e-3, "share": 1.0, "rows": 0.95},
            {"learning_rate": 0.03, "leaves": 63, "min_leaf": 30, "l2": 5.0, "share": 0.5, "rows": 0.7},
            {"learning_rate": 0.03, "leaves": 4, "min_leaf": 3, "l2": 0.1, "share": 0.4, "rows": 0.6},
        ]

    def suggest(self, trial: Any, shape: Shape) -> Parameters:
        return {
            "learning_rate": trial.suggest_float("learning_rate", 0.01, 0.2, log=True),
            "leaves": trial.suggest_int("leaves", 3, 128, log=True),
            "min_leaf": trial.suggest_int("min_leaf", 2, 80, log=True),
            "l2": trial.suggest_float("l2", 1e-3, 30.0, log=True),
            "share": trial.suggest_float("share", 0.25, 1.0),
            "rows": trial.suggest_float("rows", 0.5, 0.95),
            "extra": trial.suggest_categorical("extra", [False, True]),
        }

    def fit(
        self, parameters: Parameters, settled: Settled, learn: Rows, validate: Rows | None, shape: Shape, seed: int
    ) -> LightModel:
        import lightgbm  # an extra, and slow to import

        rate = float(parameters["learning_rate"] or 0.1)
        objective = "regression" if shape.task == "regression" else "binary" if shape.classes == 2 else "multiclass"
        options = {
            "objective": objective,
            "metric": {"regression": "rmse", "binary": "binary_logloss", "multiclass": "multi_logloss"}[objective],
            "learning_rate": rate,
            "num_leaves": parameters["leaves"],
            "min_data_in_leaf": parameters["min_leaf"],
            "min_sum_hessian_in_leaf": 1e-3,
            "lambda_l2": parameters["l2"],
            "feature_fraction_bynode": parameters["share"],
            "bagging_fraction": parameters["rows"],
            "bagging_freq": 1,
            "extra_trees": bool(parameters.get("extra", False)),
            "seed": seed,
            "num_threads": 1,
            "deterministic": True,
            "force_row_wise": True,
            "verbosity": -1,
            "feature_pre_filter": False,
        }
        if shape.classes > 2:
            options["num_class"] = shape.classes
        rounds = most_rounds(settled, validate)
        told: dict[str, Any] = {}
        data = lightgbm.Dataset(learn.matrix, learn.target)
        against, watch = [], []
        if validate is not None:
            against = [lightgbm.Dataset(validate.matrix, validate.target, reference=data)]
            watch = [lightgbm.record_evaluation(told), _until_it_stalls(Stall(patience(rate)))]
        with quietly():
            model = lightgbm.train(options, data, rounds, valid_sets=against, callbacks=watch)
        curve = np.array(next(iter(told["valid_0"].values()))) if told else np.array([])
        outputs = shape.classes if shape.classes > 2 else 1
        return LightModel(model, model.num_trees() // outputs, curve, link_of(shape), outputs)


def _until_it_stalls(stall: Stall) -> Callable[[Any], None]:
    from lightgbm.callback import EarlyStopException  # an extra

    def after_a_round(told: Any) -> None:
        if stall.after(told.evaluation_result_list[0][2]):
            raise EarlyStopException(told.iteration, told.evaluation_result_list)

    after_a_round.order = 30  # type: ignore[attr-defined]  # after it is recorded
    return after_a_round


@dataclass(frozen=True, slots=True)
class _Tree:
    """One tree as LightGBM writes it: inner nodes and leaves are counted apart, a child below 0 is a leaf."""

    feature: Array
    threshold: Array
    decision: Array
    left: Array
    right: Array
    value: Array

    @classmethod
    def read(cls, block: str) -> "_Tree":
        lines = dict(re.findall(r"^(\w+)=(.*)$", block, flags=re.MULTILINE))

        def numbers(name: str, dtype: Any) -> Array:
            return np.array(lines.get(name, "").split(), dtype=dtype)

        return cls(
            numbers("split_feature", np.int64),
            numbers("threshold", np.float64),
            numbers("decision_type", np.int64),
            numbers("left_child", np.int64),
            numbers("right_child", np.int64),
            numbers("leaf_value", np.float64),
        )


def _trees(trees: Sequence[_Tree], outputs: int, link: Link) -> TreePiece:
    """Join trees: of each, the inner nodes come first and then the leaves."""
    inner = [len(tree.feature) for tree in trees]
    sizes = [count + len(tree.value) for count, tree in zip(inner, trees, strict=True)]

    def child(tree: _Tree, side: Array) -> Array:
        found = np.where(side < 0, len(tree.feature) - side - 1, side)
        return np.concatenate([found, np.zeros(len(tree.value), dtype=np.int64)])

    def padded(tree: _Tree, values: Array) -> Array:
        return np.concatenate([values, np.zeros(len(tree.value), dtype=values.dtype)])

    threshold = np.concatenate([padded(tree, tree.threshold) for tree in trees])
    decision = np.concatenate([padded(tree, tree.decision) for tree in trees])
    rounded = round_down(threshold)
    # The number itself is read as zero, which is above this threshold.
    rounded[rounded == -_ZERO] = np.nextafter(-_ZERO, np.float32(-np.inf))
    # Where no value was missing in training, a missing one counts as zero.
    as_zero = (decision & _MISSING_NAN) == 0
    missing_left = np.where(as_zero, threshold >= 0.0, (decision & _DEFAULT_LEFT) != 0)
    leaf = np.concatenate([np.arange(size) >= count for size, count in zip(sizes, inner, strict=True)])
    values = np.concatenate([np.concatenate([np.zeros(len(tree.feature)), tree.value]) for tree in trees])
    return TreePiece(
        first=np.cumsum([0, *sizes[:-1]]),
        feature=np.concatenate([padded(tree, tree.feature) for tree in trees]),
        threshold=rounded,
        left=np.concatenate([child(tree, tree.left) for tree in trees]),
        right=np.concatenate([child(tree, tree.right) for tree in trees]),
        missing_left=missing_left,
        leaf=leaf,
        values=values.astype(np.float32)[:, None],
        target=np.arange(len(trees)) % outputs,
        base=np.zeros(outputs),
        link=link,
    )
