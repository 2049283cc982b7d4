"""Explanation from the graph alone: what each raw column adds to each row's output, and which columns matter most.

The values are Shapley's (`trainer.explain.shapley`), in the output's own unit: the target's for a regression,
probability for a classifier. They hold for whatever is inside the graph, an ensemble or another maker's network.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from msgspec import UNSET

from protocols.manifest import Importance
from protocols.recipe import Recipe
from trainer.columns import Column
from trainer.explain.shapley import Shapley, shapley
from trainer.guardrails.rail import evenly

Array = np.ndarray[Any, Any]

#: Rows explained for an importance, rows that stand for *as usual*, and pairs of walks of each row.
MAX_ROWS, BACKGROUND_ROWS, WALKS = 200, 100, 16
#: Rank correlation of value and contribution from which a direction is named.
CLEAR_DIRECTION = 0.4
#: Half of a 95 % interval, in standard errors.
HALF_INTERVAL = 1.96


@dataclass(frozen=True, slots=True)
class Explained:
    """Contributions of raw columns, and their importance.

    Of two classes the one that raises the alarm is explained, or else the rarer one as the graph sees it; of more each
    row's own answer.

    Attributes:
        importance: of every column, largest first.
        rows: explained, by position in the table.
        contributions: shape (rows, columns), columns as the features; with `base` they add up to `outputs`.
        errors: standard errors of the contributions, same shape; NaN where nothing is known of them.
        base, outputs: shape (rows,).
        explained: which output each row's figures are of: 0 for a regression, else the class's place; shape (rows,).
        whole: every row got all its walks.
    """

    importance: tuple[Importance, ...]
    rows: Array
    contributions: Array
    errors: Array
    base: Array
    outputs: Array
    explained: Array
    whole: bool


def explain(
    session: Any,
    features: Sequence[Column],
    rows: Array,
    background: Array,
    over: Callable[[], bool],
    *,
    most: int = MAX_ROWS,
    walks: int = WALKS,
    alarm: int | None = None,
) -> Explained:
    """Explain rows by sampling, for as long as there is time; with enough of it the same call gives the same values.

    Args:
        session: the graph, opened (`trainer.graphs`): one input for each feature.
        features: the columns, every row.
        rows: to explain, by position; at most `most` of them, spread evenly.
        background: rows that stand for *as usual*, by position, such as those that were learned from.
        over: has the time run out? Asked after each call of the graph, of which one is made in any case.
        walks: pairs of random walks of each row: the error falls with their square root.
        alarm: place of the class that raises the alarm, of two; None: the rarer one is explained.
    """
    shown = rows[evenly(len(rows), most)]
    usual = background[evenly(len(background), BACKGROUND_ROWS)]
    found = shapley(session, features, shown, usual, over, walks)
    place = _explained(found, alarm)
    picked = np.arange(len(found.rows))
    values = found.values[picked, :, place]
    positions = shown[found.rows]
    return Explained(
        _importance(features, positions, found, values),
        positions,
        values,
        found.errors[picked, :, place],
        found.base[place],
        found.outputs[picked, place],
        place,
        len(found.rows) == len(shown) and bool((found.walks >= walks).all()),
    )


def alarm_place(recipe: Recipe | None, classes: Sequence[str]) -> int | None:
    """Return the place of the class that raises the alarm; None where no costs of mistakes name one."""
    decision = None if recipe is None else recipe.decision
    return None if decision is None or decision.positive not in classes else list(classes).index(decision.positive)


def _explained(found: Shapley, alarm: int | None) -> Array:
    """Which output is explained for each row."""
    width = len(found.base)
    if width > 2:
        return np.asarray(found.outputs.argmax(axis=1))
    if width == 2 and alarm is None:
        alarm = int(found.base.argmin())
    return np.full(len(found.rows), alarm if width == 2 else 0)


def _importance(features: Sequence[Column], positions: Array, found: Shapley, values: Array) -> tuple[Importance, ...]:
    """Mean absolute contributions, over all classes where there are more than two, and half of their 95 % interval."""
    several = found.values.shape[2] > 2
    sizes = np.abs(found.values).mean(axis=2) if several else np.abs(values)
    made = []
    for index, column in enumerate(features):
        size = sizes[:, index]
        mean = float(size.mean()) if len(size) else 0.0
        error = HALF_INTERVAL * float(size.std(ddof=1)) / len(size) ** 0.5 if len(size) > 1 else UNSET
        direction = "mixed" if several else _direction(column, positions, values[:, index])
        made.append(Importance(column.name, mean, direction, error))
    return tuple(sorted(made, key=lambda one: (-one.value, one.feature)))


def _direction(column: Column, positions: Array, contribution: Array) -> Literal["rises", "falls", "mixed"]:
    """Whether the output rises or falls with a number; a category has no direction."""
    if column.kind != "number":
        return "mixed"
    there = ~column.missing[positions]
    x, y = _ranks(column.values[positions][there]), _ranks(contribution[there])
    if len(x) < 3 or not x.std() or not y.std():
        return "mixed"
    correlation = float(np.corrcoef(x, y)[0, 1])
    if abs(correlation) < CLEAR_DIRECTION:
        return "mixed"
    return "rises" if correlation > 0 else "falls"


def _ranks(values: Array) -> Array:
    return np.unique(values, return_inverse=True)[1].astype(np.float64)
