"""The search: which model, with which parameters, does best on rows that it has not learned from.

The plan is deterministic: trials are drawn by a seeded TPE, and they go on until their *nominal* cost (see
`families`) has used up the plan's share of the budget. The clock is a safety net only: where it cuts the plan
short, the result says so, since the same command may then end elsewhere.

Source: Bergstra, Bardenet, Bengio, Kegl, "Algorithms for Hyper-Parameter Optimization" (TPE), as in Optuna.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import optuna
import pandas as pd

from trainer.families import (
    DEFAULTS,
    FAMILIES,
    Parameters,
    Shape,
    affordable,
    build_model,
    nominal_cost_s,
    suggest,
    trial_parameters,
)
from trainer.featurizer import build_featurizer
from trainer.fitting import fit_quietly, predict
from trainer.metrics import classification_loss, regression_loss
from trainer.splitting import FOLD_ROWS, Layout, folds

#: No plan has more trials than this.
MAX_TRIALS = 200
#: Draws that may be too expensive in a row before the plan ends.
MAX_SKIPS = 8


@dataclass(frozen=True, slots=True)
class Trial:
    """One model that was tried. `loss` is the metric on rows it had not seen, lower is better."""

    parameters: Parameters
    loss: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """Every trial, best first, and whether the clock ended the search before its plan."""

    trials: tuple[Trial, ...]
    cut_short: bool

    def contenders(self) -> list[Trial]:
        """The best trial, then the best of each other family: what is tried in turn if an export fails."""
        best: dict[object, Trial] = {}
        for trial in self.trials:
            best.setdefault(trial.parameters["family"], trial)
        return list(best.values())


@dataclass(frozen=True, slots=True)
class Limits:
    """How long a search may take.

    Attributes:
        plan_s: nominal seconds that the trials may cost together.
        trials: exactly so many trials instead, if given.
        over: asked before each trial: has the clock run out?
    """

    plan_s: float
    trials: int | None = None
    over: Callable[[], bool] = field(default=lambda: False)


class Folds:
    """Learning and validation rows, featurized once for all trials, plain and scaled."""

    def __init__(self, frame: pd.DataFrame, target: np.ndarray[Any, Any], layout: Layout, seed: int) -> None:
        self.task = task = layout.task
        codes = np.unique(target, return_inverse=True)[1] if task == "classification" else target
        self.classes = int(codes.max()) + 1 if task == "classification" else 1
        self._folds = []
        for learn, validate in _learnable(codes, layout, seed):
            made = {}
            for scaled in (False, True):
                featurizer = build_featurizer(frame.iloc[learn], scaled=scaled)
                made[scaled] = (featurizer.fit_transform(frame.iloc[learn]), featurizer.transform(frame.iloc[validate]))
            self._folds.append((made, codes[learn], codes[validate]))
        rows, columns = self._folds[0][0][False][0].shape
        self.shape = Shape(rows, columns, self.classes)

    def __len__(self) -> int:
        return len(self._folds)

    def loss(self, parameters: Parameters, seed: int) -> float:
        """Return the mean loss of a model over the validation rows of each fold."""
        losses = []
        for made, learned, held in self._folds:
            inputs, unseen = made[parameters["family"] == "linear"]
            model = fit_quietly(build_model(self.task, parameters, seed), inputs, learned)
            output = _all_classes(predict(model, unseen), model, self.classes)
            losses.append(
                regression_loss(held, output) if self.task == "regression" else classification_loss(held, output)
            )
        return float(np.mean(losses))

    def cost_s(self, parameters: Parameters) -> float:
        return len(self) * nominal_cost_s(parameters, self.shape)


def _learnable(
    codes: np.ndarray[Any, Any], layout: Layout, seed: int
) -> list[tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]]:
    """The folds that have something to tell apart; at random where none has, as with classes one after the other."""
    made = [
        (learn, validate)
        for learn, validate in folds(codes, layout, seed)
        if len(validate) and (layout.task == "regression" or len(np.unique(codes[learn])) > 1)
    ]
    return made or list(folds(codes, Layout(layout.task), seed))


def _all_classes(output: np.ndarray[Any, Any], model: Any, classes: int) -> np.ndarray[Any, Any]:
    """Give the classes that a fold's rows to learn from lack, as groups or the newest rows may have, probability 0."""
    if output.ndim == 1 or output.shape[1] == classes:
        return output
    widened = np.zeros((len(output), classes))
    widened[:, model.classes_] = output
    return widened


def search(folds: Folds, limits: Limits, seed: int, progress: Callable[[str, float], None]) -> Outcome:
    """Try models until the plan's nominal cost is used up.

    Args:
        progress: called before each trial with what is tried and the share of the plan that is done.
    """
    trials: list[Trial] = []
    spent, cut_short = 0.0, False
    for parameters, tell in _draw(folds, limits, seed):
        if trials and limits.over():
            cut_short = True
            break
        done = len(trials) / limits.trials if limits.trials else spent / limits.plan_s
        best = f", best validation loss {min(trial.loss for trial in trials):.4g}" if trials else ""
        progress(f"trial {len(trials) + 1}: {parameters['family']}{best}", min(done, 1.0))
        loss = folds.loss(parameters, seed)
        tell(loss)
        trials.append(Trial(parameters, loss))
        spent += folds.cost_s(parameters)
        if spent >= limits.plan_s and not limits.trials:
            break
    return Outcome(tuple(sorted(trials, key=lambda trial: trial.loss)), cut_short)


def row_limit(rows: int, columns: int, classes: int, allowance_s: float) -> int:
    """Return how many of the rows a default boosted model can learn from within the allowance, nominally."""
    limit = rows
    while limit > FOLD_ROWS and nominal_cost_s(DEFAULTS["boosted"], Shape(limit, columns, classes)) > allowance_s:
        limit = int(limit * 0.8)
    return limit


def _draw(folds: Folds, limits: Limits, seed: int) -> Iterator[tuple[Parameters, Callable[[float], None]]]:
    """Yield parameters and where to tell their loss: each family's default first, then what TPE suggests."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed, n_startup_trials=8))
    for family in FAMILIES:
        allowance_s = math.inf if limits.trials else limits.plan_s / 2
        study.enqueue_trial(trial_parameters(affordable(DEFAULTS[family], folds.cost_s, allowance_s)))
    spent, made, skipped = 0.0, 0, 0
    while made < (limits.trials or MAX_TRIALS) and skipped < MAX_SKIPS:
        trial = study.ask()
        parameters = suggest(trial)
        cost = folds.cost_s(parameters)
        # The first, which is linear, is tried whatever it costs: something must come out.
        if limits.trials is None and made and spent + cost > limits.plan_s:
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
            skipped += 1
            continue
        spent, made, skipped = spent + cost, made + 1, 0
        yield parameters, lambda loss, trial=trial: study.tell(trial, loss)  # type: ignore[misc]
