"""The model families that are searched: their ranges, the models they make, and what a fit costs.

A fit's nominal cost is in seconds on an ordinary core, from the table's shape and the model's size alone. The plan is
made of these, not of the clock, so that the same command tries the same models on any day and any machine.
Left out because their export is not faithful: HistGradientBoosting with native categories, weighted soft voting,
isotonic calibration.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.linear_model import LogisticRegression, Ridge

from protocols.manifest import Task

Family = Literal["linear", "forest", "boosted"]
FAMILIES: tuple[Family, ...] = ("linear", "boosted", "forest")
Parameters = dict[str, str | int | float | bool | None]

#: Threads of a forest's fit. Fixed, whatever the machine, so that sums are made in one order.
FOREST_JOBS = 2


@dataclass(frozen=True, slots=True)
class Shape:
    """What a fit's cost depends on: rows, matrix columns, and the classes (1 for a regression)."""

    rows: int
    columns: int
    classes: int = 1


#: What is tried first of each family: settings that do well on most tables.
DEFAULTS: dict[Family, Parameters] = {
    "linear": {"family": "linear", "strength": 1.0},
    "boosted": {
        "family": "boosted",
        "rounds": 200,
        "learning_rate": 0.1,
        "leaves": 31,
        "min_leaf": 20,
        "l2": 1e-3,
    },
    "forest": {"family": "forest", "kind": "random", "trees": 60, "max_leaves": 256, "min_leaf": 2, "share": 0.6},
}


def suggest(trial: Any) -> Parameters:
    """Draw one model's parameters from an Optuna trial."""
    family: Family = trial.suggest_categorical("family", list(FAMILIES))
    if family == "linear":
        return {"family": family, "strength": trial.suggest_float("strength", 1e-3, 1e3, log=True)}
    if family == "boosted":
        return {
            "family": family,
            "rounds": trial.suggest_int("rounds", 50, 400, step=50),
            "learning_rate": trial.suggest_float("learning_rate", 0.02, 0.3, log=True),
            "leaves": trial.suggest_int("leaves", 7, 63, log=True),
            "min_leaf": trial.suggest_int("min_leaf", 3, 60, log=True),
            "l2": trial.suggest_float("l2", 1e-4, 10.0, log=True),
        }
    return {
        "family": family,
        "kind": trial.suggest_categorical("kind", ["random", "extra"]),
        "trees": trial.suggest_int("trees", 30, 90, step=15),
        "max_leaves": trial.suggest_int("max_leaves", 32, 512, log=True),
        "min_leaf": trial.suggest_int("forest_min_leaf", 1, 20, log=True),
        "share": trial.suggest_float("share", 0.3, 1.0),
    }


def trial_parameters(parameters: Parameters) -> Parameters:
    """Return the parameters under the names that `suggest` gives them, to enqueue them as a trial."""
    names = {"min_leaf": "forest_min_leaf"} if parameters["family"] == "forest" else {}
    return {names.get(name, name): value for name, value in parameters.items()}


def build_model(task: Task, parameters: Parameters, seed: int) -> Any:
    """Return the unfitted scikit-learn model of these parameters."""
    made: Any = {"linear": _linear, "boosted": _boosted, "forest": _forest}[str(parameters["family"])]
    return made(task, parameters, seed)


def nominal_cost_s(parameters: Parameters, shape: Shape) -> float:
    """Seconds that one fit and one prediction take on an ordinary core, about; measured, not derived."""
    cells = shape.rows * max(shape.columns, 1)
    many = shape.classes if shape.classes > 2 else 1
    if parameters["family"] == "linear":
        return 0.005 + cells * (2e-8 if shape.classes == 1 else 1.5e-7 * many)
    if parameters["family"] == "boosted":
        leaves = min(int(parameters["leaves"] or 0), shape.rows // int(parameters["min_leaf"] or 1))
        return 0.01 + many * int(parameters["rounds"] or 0) * (1.2e-4 + 1.8e-5 * leaves + 7e-9 * cells)
    tree = 1.5e-3 + 1.3e-7 * cells * float(parameters["share"] or 1.0)
    return 0.02 + int(parameters["trees"] or 0) * tree * (0.5 if parameters["kind"] == "extra" else 1.0)


def affordable(parameters: Parameters, cost_s: Callable[[Parameters], float], allowance_s: float) -> Parameters:
    """Return the parameters with as many rounds or trees as the allowance pays for, but not under the range's least."""
    size, step, least = {"boosted": ("rounds", 50, 50), "forest": ("trees", 15, 30)}.get(
        str(parameters["family"]), ("", 0, 0)
    )
    made = dict(parameters)
    while size and int(made[size] or 0) > least and cost_s(made) > allowance_s:
        made[size] = int(made[size] or 0) - step
    return made


def _linear(task: Task, parameters: Parameters, seed: int) -> Any:
    strength = float(parameters["strength"] or 1.0)
    if task == "regression":
        return Ridge(alpha=strength)
    return LogisticRegression(C=1.0 / strength, max_iter=500, random_state=seed)


def _boosted(task: Task, parameters: Parameters, seed: int) -> Any:
    made = HistGradientBoostingRegressor if task == "regression" else HistGradientBoostingClassifier
    return made(
        max_iter=parameters["rounds"],
        learning_rate=parameters["learning_rate"],
        max_leaf_nodes=parameters["leaves"],
        min_samples_leaf=parameters["min_leaf"],
        l2_regularization=parameters["l2"],
        categorical_features=None,
        early_stopping=False,
        random_state=seed,
    )


def _forest(task: Task, parameters: Parameters, seed: int) -> Any:
    random = parameters["kind"] == "random"
    if task == "regression":
        made = RandomForestRegressor if random else ExtraTreesRegressor
    else:
        made = RandomForestClassifier if random else ExtraTreesClassifier
    return made(
        n_estimators=parameters["trees"],
        max_leaf_nodes=parameters["max_leaves"],
        min_samples_leaf=parameters["min_leaf"],
        max_features=parameters["share"],
        n_jobs=FOREST_JOBS,
        random_state=seed,
    )
