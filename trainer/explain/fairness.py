"""Fairness by group: does the model serve the rows of each group of a column equally well, or is that left to chance?

Source: Barocas, Hardt, Narayanan, "Fairness and Machine Learning", chapter 3 (selection, false positive and false
negative rates); Wilson, "Probable Inference, the Law of Succession, and Statistical Inference" (intervals of shares);
Newcombe, "Interval estimation for the difference between independent proportions", method 10.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from statistics import NormalDist
from typing import Any

import numpy as np

from protocols.card import Fairness, Gap, GroupFigures, Rate
from protocols.manifest import Task
from trainer.columns import Column
from trainer.metrics import classification_loss, rarer, regression_loss

Array = np.ndarray[Any, Any]

#: Rows that a group has at least, groups that are told of, and different numbers from which ranges are made of them.
MIN_ROWS, MOST_GROUPS, MOST_NUMBERS = 20, 12, 8
#: What a missing value is called.
MISSING = "(missing)"
LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class Groups:
    """A column's name, and the group of each row: text, shape (rows,)."""

    column: str
    labels: Array


def group_labels(column: Column) -> Array:
    """Return each row's group as text: the value itself, or of many numbers the quarter that it lies in."""
    missing = column.missing
    if column.kind != "number":
        return np.where(missing, MISSING, column.values).astype(object)
    found = np.unique(column.values[~missing])
    if len(found) <= MOST_NUMBERS:
        texts = np.array([f"{value:g}" for value in column.values.tolist()], dtype=object)
    else:
        cuts = np.unique(np.percentile(column.values[~missing], [25, 50, 75]))
        names = [f"up to {cuts[0]:.4g}"]
        names += [f"above {low:.4g} up to {high:.4g}" for low, high in pairwise(cuts)]
        texts = np.array([*names, f"above {cuts[-1]:.4g}"], dtype=object)[np.searchsorted(cuts, column.values)]
    texts[missing] = MISSING
    return texts


def fairness(
    groups: Groups,
    truth: Array,
    output: Array,
    task: Task,
    classes: Sequence[str],
    answers: Array | None = None,
    place: int | None = None,
) -> Fairness:
    """Return each group's figures, the largest group first, and the largest gaps between groups.

    Args:
        groups: of the rows that measure the model.
        truth: of these rows: numbers, or places among the classes.
        output: predictions (rows,), or probabilities (rows, classes).
        answers: places of the classes that are answered; None: the likeliest.
        place: of the class in question, of two; None: the rarer one.
    """
    names, counts = np.unique(groups.labels.astype(str), return_counts=True)
    told = [str(names[place]) for place in np.lexsort((names, -counts)) if counts[place] >= MIN_ROWS][:MOST_GROUPS]
    if task == "classification" and answers is None:
        answers = output.argmax(axis=1)
    if len(classes) != 2:
        place = None
    elif place is None:
        place = rarer(truth)
    made = []
    for name in told:
        rows = groups.labels.astype(str) == name
        if answers is None:
            made.append(_of_numbers(name, truth[rows], output[rows]))
        else:
            made.append(_of_classes(name, truth[rows], output[rows], answers[rows], place))
    left_out = len(truth) - sum(one.rows for one in made)
    return Fairness(groups.column, tuple(made), tuple(_gaps(made)), None if place is None else classes[place], left_out)


def _of_numbers(name: str, truth: Array, output: Array) -> GroupFigures:
    error = output.astype(np.float64) - truth
    half = _deviations() * float(error.std(ddof=1)) / math.sqrt(len(error))
    mean = float(error.mean())
    return GroupFigures(
        name, len(truth), regression_loss(truth, output), mean_error=Rate(mean, mean - half, mean + half)
    )


def _of_classes(name: str, truth: Array, output: Array, answers: Array, place: int | None) -> GroupFigures:
    loss = classification_loss(truth, output)
    wrong = _share(answers != truth)
    if place is None:
        return GroupFigures(name, len(truth), loss, wrong=wrong)
    selected, own = answers == place, truth == place
    return GroupFigures(
        name,
        len(truth),
        loss,
        selected=_share(selected),
        false_alarms=_share(selected[~own]) if not own.all() else None,
        misses=_share(~selected[own]) if own.any() else None,
        wrong=wrong,
    )


#: Figures between which gaps are looked for, by the name that people know them by.
_FIGURES: dict[str, Callable[[GroupFigures], Rate | None]] = {
    "selection rate": lambda group: group.selected,
    "false-alarm rate": lambda group: group.false_alarms,
    "miss rate": lambda group: group.misses,
    "share of wrong answers": lambda group: group.wrong,
    "mean error": lambda group: group.mean_error,
}


def _gaps(groups: Sequence[GroupFigures]) -> Iterator[Gap]:
    """Return the largest gap of each figure, with an interval for as many pairs as there are (Bonferroni)."""
    for figure, pick in _FIGURES.items():
        known = [(group, rate) for group in groups if (rate := pick(group)) is not None]
        pairs = [(one, two) if one[1].value >= two[1].value else (two, one) for one, two in combinations(known, 2)]
        if not pairs:
            continue
        wider = _deviations(len(pairs)) / _deviations()
        (most, high), (least, low) = max(pairs, key=lambda pair: pair[0][1].value - pair[1][1].value)
        difference = high.value - low.value
        below = wider * math.hypot(high.value - high.low, low.high - low.value)
        above = wider * math.hypot(high.high - high.value, low.value - low.low)
        yield Gap(figure, most.group, least.group, Rate(difference, difference - below, difference + above))


def _share(hits: Array) -> Rate:
    """A share with Wilson's interval, which holds for few rows and for shares near 0 and 1."""
    rows, deviations = len(hits), _deviations()
    share = float(hits.mean())
    shrink = 1 + deviations**2 / rows
    middle = (share + deviations**2 / (2 * rows)) / shrink
    half = deviations / shrink * math.sqrt(share * (1 - share) / rows + deviations**2 / (4 * rows**2))
    return Rate(share, min(share, max(0.0, middle - half)), max(share, min(1.0, middle + half)))


def _deviations(comparisons: int = 1) -> float:
    return NormalDist().inv_cdf(1 - (1 - LEVEL) / 2 / comparisons)
