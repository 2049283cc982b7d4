"""Target leakage: columns that know the answer because they were made from it.

A leak makes a model that is perfect on the table and useless on the line. Found are: a number that is the target in
another scale, or rises and falls with it row by row as its logarithm or square does; a column whose value alone tells
every class; a rare flag that is only ever set when the target is (a failure-mode column beside `Machine failure`); and
a column of any kind that is filled in for some targets alone (the date of the failure). Points in time are numbers.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.tree import DecisionTreeClassifier

from trainer.columns import Column
from trainer.guardrails.moments import NO_MOMENT, moments
from trainer.guardrails.ranks import same_order
from trainer.targets import Target, labels_as_text

#: The check's name.
LEAKAGE = "target leakage"
#: A correlation, of values or of ranks, from which a number is the target in another scale, rounding allowed for.
SAME_NUMBER = 0.99999
#: A share of variance or of classes explained, from which a column is the target in another form.
SAME = 0.99995
#: A flag that is right so often ...
FLAG_PRECISION = 0.99
#: ... on so many rows at least ...
FLAG_SUPPORT = 10
#: ... for a class so much rarer elsewhere is no sensor.
FLAG_LIFT = 2.0
#: Chance of such a flag by accident, as a power of ten.
FLAG_LOG10_CHANCE = -6.0
#: At most so many rows are looked at.
SAMPLE_ROWS = 20_000
#: ... and by a tree at so many: wide tables have a tree for each column.
TREE_ROWS = 5_000

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Answers:
    """The target as columns are compared with it.

    Attributes:
        values: of every `step`th row: numbers, or the place of the class in `names`; shape (rows,).
        names: of the classes; none: a regression.
        by_time: the rows' own order tells the answer, so no moment is a leak for telling it, too.
    """

    values: Array
    names: tuple[str, ...]
    step: int
    by_time: bool


def answers_of(target: Target) -> Answers:
    step = max(1, math.ceil(len(target.values) / SAMPLE_ROWS))
    place = np.arange(len(target.values[::step]), dtype=np.float64)
    if target.task == "regression":
        y = target.values[::step].astype(np.float64)
        return Answers(y, (), step, bool(np.ptp(y)) and abs(float(np.corrcoef(place, y)[0, 1])) > SAME_NUMBER)
    names, labels = np.unique(np.array(labels_as_text(target.values[::step])), return_inverse=True)
    return Answers(labels, tuple(names.tolist()), step, _runs(place, labels) <= 2 * len(names))


def find_leak(column: Column, answers: Answers) -> str | None:
    """Return why a column, whose values are of the answers' rows in their order, leaks the target, or None."""
    gone, codes = column.missing[:: answers.step], _numbers(column, answers.step)
    tells_itself = column.kind == "time" and answers.by_time
    if not answers.names:
        y = answers.values
        return (None if tells_itself else _regression_leak(column, codes, y)) or _parted(gone, y)
    if column.kind == "time":
        codes = _ranks(codes)  # a tree reckons in float32
    return (
        _flag_leak(column, codes, answers)
        or _filled_for(gone, answers)
        or (None if tells_itself else _class_leak(codes, answers.values))
    )


def _numbers(column: Column, step: int) -> Array:
    """Every `step`th value as float64, missing as NaN; points in time in seconds, categories by their rank."""
    values = column.values[::step]
    if column.kind == "number":
        return values.astype(np.float64)
    if column.kind == "time" and (at := moments(values)) is not None:
        return np.where(at == NO_MOMENT, np.nan, at / 1e9)
    codes = np.unique(values, return_inverse=True)[1].astype(np.float64)
    codes[values == ""] = np.nan
    return codes


def _ranks(values: Array) -> Array:
    """Places of numbers among the different ones, missing as NaN."""
    places = np.unique(values, return_inverse=True)[1].astype(np.float64)
    return np.where(np.isnan(values), np.nan, places)


def _regression_leak(column: Column, codes: Array, y: Array) -> str | None:
    present = ~np.isnan(codes)
    x, y = codes[present], y[present]
    if len(x) < 10 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return None
    if column.kind == "category":
        explained = _share_explained(x, y)
        return f"its categories tell the target exactly ({explained:.3%} explained)" if explained > SAME else None
    correlation = float(np.corrcoef(x, y)[0, 1])
    if abs(correlation) > SAME_NUMBER:
        return f"it is the target in another scale (correlation {correlation:.5f})"
    if column.kind == "number" and abs(ranks := same_order(x, y)) > SAME_NUMBER:
        return (
            "it rises or falls with the target in every row, as the target's logarithm, square or reciprocal does "
            f"(rank correlation {ranks:.5f})"
        )
    return None


def _share_explained(groups: Array, y: Array) -> float:
    """Share of the target's variance between groups; 0.0 where groups are too small to tell."""
    members = np.unique(groups, return_inverse=True)[1]
    counts = np.bincount(members)
    if len(counts) * 3 > len(y):
        return 0.0
    means = np.bincount(members, weights=y) / counts
    return float(1 - ((y - means[members]) ** 2).sum() / ((y - y.mean()) ** 2).sum())


def _parted(gone: Array, y: Array) -> str | None:
    """A column that is filled in for all targets from some value on, and for none below it, or the other way round.

    Where it is filled in from one row on it is a sensor that came later, and the target may be one that only rises.
    """
    without, having = y[gone], y[~gone]
    if min(len(without), len(having)) < FLAG_SUPPORT or int((gone[1:] != gone[:-1]).sum()) < 2:
        return None
    if without.max() >= having.min() and having.max() >= without.min():
        return None
    return (
        f"the target is {having.min():g} to {having.max():g} wherever it has a value, and {without.min():g} to "
        f"{without.max():g} in the {len(without)} rows without one"
    )


def _flag_leak(column: Column, codes: Array, answers: Answers) -> str | None:
    """A rare flag beside a target of two classes. Among many classes a flag may well be an honest property."""
    values, counts = np.unique(codes[~np.isnan(codes)], return_counts=True)
    if len(values) != 2:
        return None
    found = _only_with(codes == values[counts.argmin()], answers)
    shown = f"{values[counts.argmin()]:g}" if column.kind == "number" else repr(_rarer(column))
    return f"whenever it is {shown} {found}" if found else None


def _filled_for(gone: Array, answers: Answers) -> str | None:
    """A column that has a value, or none, in rows of one class alone."""
    few = gone if 2 * gone.sum() <= len(gone) else ~gone
    if min(few.sum(), (~few).sum()) < FLAG_SUPPORT:
        return None
    words = {True: "it has no value", False: "it has a value"}
    if found := _only_with(few, answers):
        return f"whenever {words[few is gone]} {found}"
    counts = np.bincount(answers.values, minlength=len(answers.names))
    for rows in (few, ~few):
        inside = np.bincount(answers.values[rows], minlength=len(answers.names))
        place = int(inside.argmax())
        if inside[place] == int(rows.sum()) == counts[place]:
            empty = bool(gone[rows][0])
            return (
                f"{words[empty]} in all {counts[place]} rows whose target is {answers.names[place]!r}, and in no other"
            )
    return None


def _only_with(flagged: Array, answers: Answers) -> str:
    """Say of which of two classes flagged rows are, if nearly all are and few others; else "".

    Args:
        flagged: the rarer side of a flag, shape (rows,).
    """
    support = int(flagged.sum())
    if len(answers.names) != 2 or support < FLAG_SUPPORT:
        return ""
    inside = np.bincount(answers.values[flagged], minlength=2)
    place = int(inside.argmax())
    winner, precision = answers.names[place], inside[place] / support
    everywhere = float((answers.values == place).mean())
    chance = support * math.log10(everywhere)
    if precision < FLAG_PRECISION or precision < FLAG_LIFT * everywhere or chance > FLAG_LOG10_CHANCE:
        return ""
    return f"({support} rows) the target is {winner!r} in {precision:.1%}, against {everywhere:.1%} of all rows"


def _rarer(column: Column) -> str:
    values, counts = np.unique(column.values[~column.missing], return_counts=True)
    return str(values[counts.argmin()])


def _class_leak(codes: Array, labels: Array) -> str | None:
    """A tree with two leaves for each class, on this column alone, that tells every class."""
    step = max(1, math.ceil(len(labels) / TREE_ROWS))
    codes, labels = codes[::step], labels[::step]
    classes = np.unique(labels)
    if len(classes) < 2:
        return None
    x = np.nan_to_num(codes, nan=float(np.nanmin(codes)) - 1.0 if not np.isnan(codes).all() else 0.0)[:, None]
    if _runs(x[:, 0], labels) > 2 * len(classes):
        return None  # so many leaves cannot tell them apart, and a wide table has thousands of columns
    tree = DecisionTreeClassifier(max_leaf_nodes=2 * len(classes), random_state=0).fit(x, labels)
    # Each class by itself: right on the common class alone would be no proof.
    predicted = tree.predict(x)
    worst = min(float((predicted[labels == name] == name).mean()) for name in classes)
    rows = min(int((labels == name).sum()) for name in classes)
    if worst < SAME or rows < FLAG_SUPPORT:
        return None
    return f"it alone tells all {len(classes)} classes apart without an error"


def _runs(x: Array, labels: Array) -> int:
    """How many stretches of one class there are along a column, at least."""
    ordered = labels[np.lexsort((labels, x))]
    return 1 + int((ordered[1:] != ordered[:-1]).sum())
