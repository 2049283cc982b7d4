"""Target leakage: columns that know the answer because they were made from it.

A leak makes a model that is perfect on the table and useless on the line. Three kinds are found: a number that
is the target in another scale, a column whose value alone tells every class, and a rare flag that is only ever
set when the target is (a failure-mode column beside `Machine failure`).
"""

import math
from typing import Any

import numpy as np
from sklearn.tree import DecisionTreeClassifier

from trainer.columns import Column
from trainer.targets import Target, labels_as_text

#: A correlation from which a number is the target in another scale, rounding allowed for.
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


def find_leak(column: Column, target: Target) -> str | None:
    """Return why a column leaks the target, or None.

    Args:
        column: values of the target's rows, in their order.
        target: what is to be predicted.
    """
    if column.kind == "time":
        return None
    step = max(1, math.ceil(len(target.values) / SAMPLE_ROWS))
    codes = _numbers(column, step)
    if target.task == "regression":
        return _regression_leak(column, codes, target.values[::step].astype(np.float64))
    labels = np.array(labels_as_text(target.values[::step]))
    return _flag_leak(column, codes, labels) or _class_leak(codes, labels)


def _numbers(column: Column, step: int) -> np.ndarray[Any, Any]:
    """Every `step`th value as float64, missing as NaN; categories by their rank."""
    if column.kind == "number":
        return column.values[::step].astype(np.float64)
    codes = np.unique(column.values[::step], return_inverse=True)[1].astype(np.float64)
    codes[column.missing[::step]] = np.nan
    return codes


def _regression_leak(column: Column, codes: np.ndarray[Any, Any], y: np.ndarray[Any, Any]) -> str | None:
    present = ~np.isnan(codes)
    x, y = codes[present], y[present]
    if len(x) < 10 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return None
    if column.kind == "number":
        correlation = float(np.corrcoef(x, y)[0, 1])
        return (
            f"it is the target in another scale (correlation {correlation:.5f})"
            if abs(correlation) > SAME_NUMBER
            else None
        )
    explained = _share_explained(x, y)
    return f"its categories tell the target exactly ({explained:.3%} explained)" if explained > SAME else None


def _share_explained(groups: np.ndarray[Any, Any], y: np.ndarray[Any, Any]) -> float:
    """Share of the target's variance between groups; 0.0 where groups are too small to tell."""
    members = np.unique(groups, return_inverse=True)[1]
    counts = np.bincount(members)
    if len(counts) * 3 > len(y):
        return 0.0
    means = np.bincount(members, weights=y) / counts
    return float(1 - ((y - means[members]) ** 2).sum() / ((y - y.mean()) ** 2).sum())


def _flag_leak(column: Column, codes: np.ndarray[Any, Any], labels: np.ndarray[Any, Any]) -> str | None:
    """A rare flag beside a target of two classes. Among many classes a flag may well be an honest property."""
    values, counts = np.unique(codes[~np.isnan(codes)], return_counts=True)
    if len(np.unique(labels)) != 2 or len(values) != 2 or counts.min() < FLAG_SUPPORT:
        return None
    flagged = codes == values[counts.argmin()]
    classes, inside = np.unique(labels[flagged], return_counts=True)
    winner, support = str(classes[inside.argmax()]), int(flagged.sum())
    precision = inside.max() / support
    everywhere = float((labels == winner).mean())
    chance = support * math.log10(everywhere)
    if precision < FLAG_PRECISION or precision < FLAG_LIFT * everywhere or chance > FLAG_LOG10_CHANCE:
        return None
    shown = f"{values[counts.argmin()]:g}" if column.kind == "number" else repr(_rarer(column))
    return (
        f"whenever it is {shown} ({support} rows) the target is {winner!r} in {precision:.1%}, "
        f"against {everywhere:.1%} of all rows"
    )


def _rarer(column: Column) -> str:
    values, counts = np.unique(column.values[~column.missing], return_counts=True)
    return str(values[counts.argmin()])


def _class_leak(codes: np.ndarray[Any, Any], labels: np.ndarray[Any, Any]) -> str | None:
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


def _runs(x: np.ndarray[Any, Any], labels: np.ndarray[Any, Any]) -> int:
    """How many stretches of one class there are along a column, at least."""
    ordered = labels[np.lexsort((labels, x))]
    return 1 + int((ordered[1:] != ordered[:-1]).sum())
