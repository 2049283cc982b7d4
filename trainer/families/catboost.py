"""Boosted trees by CatBoost, where the extra `boosting` is installed: each level of a tree asks one question of all."""

import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from trainer.families.family import Parameters, Rows, Settled, Shape
from trainer.families.linear import link_of, linked
from trainer.families.quiet import quietly
from trainer.families.rounds import MANY_CLASSES, ByRounds, Stall, most_rounds, patience
from trainer.graph.encoded import Array
from trainer.graph.featurizer import MatrixKind
from trainer.pieces import Link, Piece, TreePiece
from trainer.pieces.trees import round_down


@dataclass(frozen=True, slots=True)
class CatModel:
    """A fitted model, how many of its rounds count, and the loss on the validation rows after 1, 2, ... rounds."""

    fitted: Any
    rounds: int
    curve: Array
    link: Link

    def predict(self, matrix: Array) -> Array:
        margin = self.fitted.predict(matrix, prediction_type="RawFormulaVal", ntree_end=self.rounds, thread_count=1)
        return linked(np.asarray(margin, dtype=np.float64).reshape(len(matrix), -1), self.link)

    def piece(self) -> Piece:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "model.json"
            self.fitted.save_model(str(file), format="json")
            return _piece(json.loads(file.read_bytes()), self.rounds, self.link)


class Cat(ByRounds):
    """Source: Prokhorenkova et al., "CatBoost: unbiased boosting with categorical features" (2018)."""

    name = "catboost"
    matrix: MatrixKind = "raw"
    simplicity = 3
    several_fits = True

    def starts(self, shape: Shape) -> Sequence[Parameters]:
        if find_spec("catboost") is None or shape.classes > MANY_CLASSES:
            return []
        return [{"learning_rate": 0.1, "depth": 6, "l2": 3.0, "noise": 1.0, "rows": 0.8, "share": 0.7}]

    def suggest(self, trial: Any, shape: Shape) -> Parameters:
        return {
            "learning_rate": trial.suggest_float("learning_rate", 0.02, 0.2, log=True),
            "depth": trial.suggest_int("depth", 2, 8),
            "l2": trial.suggest_float("l2", 0.1, 30.0, log=True),
            "noise": trial.suggest_float("noise", 0.1, 10.0, log=True),
            "rows": trial.suggest_float("rows", 0.5, 1.0),
            "share": trial.suggest_float("share", 0.3, 1.0),
        }

    def fit(
        self, parameters: Parameters, settled: Settled, learn: Rows, validate: Rows | None, shape: Shape, seed: int
    ) -> CatModel:
        import catboost  # an extra

        rate = float(parameters["learning_rate"] or 0.1)
        regression, several = shape.task == "regression", shape.classes > 2
        loss = "RMSE" if regression else "MultiClass" if several else "Logloss"
        options = {
            "loss_function": loss,
            "iterations": most_rounds(settled, validate),
            "learning_rate": rate,
            "depth": parameters["depth"],
            "l2_leaf_reg": parameters["l2"],
            "random_strength": parameters["noise"],
            "bootstrap_type": "Bernoulli",
            "subsample": parameters["rows"],
            "rsm": parameters["share"],
            "random_seed": seed,
            "thread_count": 1,
            "allow_const_label": True,
            "allow_writing_files": False,
            "logging_level": "Silent",
        }
        data = catboost.Pool(learn.matrix, learn.target, thread_count=1)
        against = None
        if validate is not None:
            against = catboost.Pool(validate.matrix, validate.target, thread_count=1)
            options["use_best_model"] = False
        model = catboost.CatBoost(options)
        with quietly():
            model.fit(data, eval_set=against, callbacks=[_UntilItStalls(rate, loss)] if against else None)
        told = model.get_evals_result().get("validation", {})
        curve = np.array(told[loss]) if told else np.array([])
        return CatModel(model, model.tree_count_, curve, link_of(shape))


class _UntilItStalls:
    def __init__(self, rate: float, loss: str) -> None:
        self._stall, self._loss = Stall(patience(rate)), loss

    def after_iteration(self, info: Any) -> bool:
        """Whether to go on."""
        return not self._stall.after(info.metrics["validation"][self._loss][-1])


def _piece(document: Any, rounds: int, link: Link) -> TreePiece:
    """Write each level's question out for all nodes of the level, as an operator of trees wants it."""
    columns = document["features_info"]["float_features"]
    missing_right = np.array([one["nan_value_treatment"] == "AsTrue" for one in columns])
    place = np.array([one["flat_feature_index"] for one in columns])
    scale, base = document["scale_and_bias"]
    trees = [_Tree.read(tree, len(base)) for tree in document["oblivious_trees"][:rounds]]
    sizes = [len(tree.leaf) for tree in trees]

    def joined(name: str) -> Array:
        return np.concatenate([getattr(tree, name) for tree in trees])

    column = joined("column")
    values = np.concatenate([tree.values for tree in trees]) * scale
    return TreePiece(
        first=np.cumsum([0, *sizes[:-1]]),
        feature=place[column],
        threshold=round_down(joined("threshold")),
        left=joined("left"),
        right=joined("right"),
        missing_left=~missing_right[column],
        leaf=joined("leaf"),
        values=values.astype(np.float32),
        target=np.zeros(len(trees), dtype=np.int64),
        base=np.asarray(base, dtype=np.float64),
        link=link,
    )


@dataclass(frozen=True, slots=True)
class _Tree:
    """One tree, its nodes level by level; where all that a node leads to is one value, it is a leaf."""

    column: Array
    threshold: Array
    left: Array
    right: Array
    leaf: Array
    values: Array

    @classmethod
    def read(cls, tree: Any, outputs: int) -> "_Tree":
        # Bit i of a leaf's place is the answer to question i: the last question is asked first here.
        asked = list(reversed(tree["splits"] or []))
        values, ends = _levels(np.asarray(tree["leaf_values"], dtype=np.float64).reshape(-1, outputs))
        level = np.repeat(np.arange(len(values)), [len(one) for one in values])
        leaf = np.concatenate(ends)
        reached = _reached(ends)
        number = np.cumsum(reached) - 1
        first = 2 * np.arange(len(leaf)) + 1  # of a node's children, were there all of them
        inner = ~leaf & reached
        columns = np.array([*(one["float_feature_index"] for one in asked), 0], dtype=np.int64)
        borders = np.array([*(one["border"] for one in asked), 0.0])
        left, right = np.zeros((2, len(leaf)), dtype=np.int64)
        left[inner], right[inner] = number[first[inner]], number[first[inner] + 1]
        return cls(
            column=np.where(leaf, 0, columns[level])[reached],
            threshold=np.where(leaf, 0.0, borders[level])[reached],
            left=left[reached],
            right=right[reached],
            leaf=leaf[reached],
            values=np.where(leaf[:, None], np.concatenate(values), 0.0)[reached],
        )


def _levels(found: Array) -> tuple[list[Array], list[Array]]:
    """Return for each level, from the root on, the nodes' values, and which of them are leaves."""
    values, ends = [found], [np.ones(len(found), dtype=bool)]
    while len(values[0]) > 1:
        below, over = values[0], ends[0]
        values.insert(0, below[0::2])
        ends.insert(0, over[0::2] & over[1::2] & (below[0::2] == below[1::2]).all(axis=1))
    return values, ends


def _reached(ends: list[Array]) -> Array:
    """Whether each node, level by level, has no leaf above it."""
    levels = [np.ones(1, dtype=bool)]
    for leaf in ends[:-1]:
        levels.append(np.repeat(levels[-1] & ~leaf, 2))
    return np.concatenate(levels)
