"""Division of rows: which are learned from and which are held out, and the folds of the search.

Rows of one group are never on both sides, and identical rows only where the check of duplicate rows alerts to it. Where
the rows stand in the order of time, what is held out is newer than what is learned from. Otherwise they are drawn by
the seed, each class in its share.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from sklearn.model_selection import KFold, ShuffleSplit, StratifiedKFold, StratifiedShuffleSplit, train_test_split

from protocols.manifest import Task
from trainer.errors import TargetError
from trainer.families.quiet import quietly
from trainer.guardrails.check import CheckedTable
from trainer.guardrails.duplicates import unrepeated
from trainer.guardrails.order import HELD_OUT_PARTS

Rows = np.ndarray[Any, Any]

#: Different rows without which nothing can be divided.
LEAST_DIFFERENT = 3
#: Folds where nobody says how many, and the parts that rows in order are cut into for them.
FOLDS, VALIDATED_PARTS = 3, 4


class Layout(NamedTuple):
    """What rules the division of some rows; see CheckedTable."""

    task: Task
    groups: Rows | None = None
    ordered: bool = False


def divide(checked: CheckedTable, seed: int) -> tuple[Rows, Rows]:
    """Return the positions of the rows to learn from and of those held out.

    Raises:
        TargetError: there are too few different rows, or no division leaves every class among the rows to
            learn from.
    """
    target = checked.target
    classes = target.values if target.task == "classification" else None
    rows = np.arange(len(target.values))
    if checked.ordered:
        cut = len(rows) - len(rows) // HELD_OUT_PARTS
        learn, newer = _apart(rows[:cut], rows[cut:], checked.groups)
        if classes is not None and len(np.unique(classes[learn])) < 2:
            raise TargetError(
                f"target {target.name!r}: of the older rows, which are learned from, each is {classes[learn[0]]!r}, so "
                "there is nothing to tell apart: hold out rows at random with --validate random, or add older rows"
            )
        return learn, newer
    if checked.groups is None:
        learn, held_out = train_test_split(rows, test_size=1 / HELD_OUT_PARTS, random_state=seed, stratify=classes)
        return learn, held_out
    different = len(np.unique(checked.groups))
    if different < LEAST_DIFFERENT:
        raise TargetError(
            f"target {target.name!r}: the table holds {different} different rows over and over, and at least "
            f"{LEAST_DIFFERENT} are needed, to learn from, to validate on and to hold out: add other rows"
        )
    hands = _deal(checked.groups, classes, HELD_OUT_PARTS, seed)
    for hand in range(HELD_OUT_PARTS):
        learn, held_out = rows[hands != hand], rows[hands == hand]
        if len(held_out) and (classes is None or len(np.unique(classes[learn])) == len(target.classes)):
            return learn, held_out
    raise TargetError(
        f"target {target.name!r}: a class occurs in one group or one repeated row alone, so it cannot be both learned "
        "and held out: add rows, leave that class out, or divide by another --group"
    )


def draw(learn: Rows, checked: CheckedTable, limit: int, seed: int) -> Rows:
    """Return at most so many of the rows to learn from: the newest, or drawn with each class in its share."""
    if limit >= len(learn):
        return learn
    if checked.target.task == "classification":
        drawn = _drawn_by_class(learn, checked.target.values[learn], limit, seed)
        return np.sort(drawn) if checked.ordered else drawn
    if checked.ordered:
        return learn[len(learn) - limit :]
    if checked.groups is None:
        return learn[:limit]  # shuffled already
    return np.sort(np.random.default_rng(seed).permutation(learn)[:limit])


def _drawn_by_class(rows: Rows, classes: Rows, limit: int, seed: int) -> Rows:
    """Draw from each class in its share; a class with one row, of which there is no share, keeps it."""
    _, members, counts = np.unique(classes, return_inverse=True, return_counts=True)
    alone = counts[members] == 1
    wanted = limit - int(alone.sum())
    drawn = train_test_split(rows[~alone], train_size=wanted, random_state=seed, stratify=classes[~alone])[0]
    return np.concatenate([drawn, rows[alone]])


def folds(codes: Rows, layout: Layout, seed: int, parts: int = FOLDS) -> Iterator[tuple[Rows, Rows]]:
    """Yield positions to learn from and to validate on: each row is validated on once, of one part a fifth of them.

    Of rows in the order of time, the folds validate on later and later ones, at most three times.

    Args:
        codes: the target, classes as numbers.
        parts: how many folds.
    """
    rows = np.arange(len(codes))
    if layout.ordered:
        cuts = np.linspace(0, len(rows), VALIDATED_PARTS + 1).astype(int)
        for part in range(max(1, VALIDATED_PARTS - parts), VALIDATED_PARTS):
            yield _apart(rows[: cuts[part]], rows[cuts[part] : cuts[part + 1]], layout.groups)
    elif layout.groups is not None:
        hands = _deal(
            layout.groups, codes if layout.task == "classification" else None, max(parts, HELD_OUT_PARTS), seed
        )
        for hand in range(1 if parts == 1 else int(hands.max()) + 1):
            yield rows[hands != hand], rows[hands == hand]
    else:
        yield from _at_random(codes, layout.task, seed, parts)


def _at_random(codes: Rows, task: Task, seed: int, parts: int) -> Iterator[tuple[Rows, Rows]]:
    splitter: Any
    if parts == 1:
        made = StratifiedShuffleSplit if task == "classification" else ShuffleSplit
        splitter = made(n_splits=1, test_size=1 / HELD_OUT_PARTS, random_state=seed)
    else:
        fold = StratifiedKFold if task == "classification" else KFold
        most = int(np.unique(codes, return_counts=True)[1].max()) if task == "classification" else len(codes)
        splitter = fold(n_splits=max(2, min(parts, most)), shuffle=True, random_state=seed)
    with quietly():  # a class with fewer rows than there are folds is not in each of them
        made = list(splitter.split(np.zeros(len(codes)), codes))
    yield from made


def usable_folds(codes: Rows, layout: Layout, seed: int, parts: int) -> list[tuple[Rows, Rows]]:
    """The folds that have something to tell apart; at random where none has, as with classes one after the other."""
    made = [
        (learn, validate)
        for learn, validate in folds(codes, layout, seed, parts)
        if len(validate) and (layout.task == "regression" or len(np.unique(codes[learn])) > 1)
    ]
    return made or list(folds(codes, Layout(layout.task), seed, parts))


def _apart(learn: Rows, newer: Rows, groups: Rows | None) -> tuple[Rows, Rows]:
    """Take out of the older rows those that come again among the newer, where enough are left."""
    if groups is None:
        return learn, newer
    alone = unrepeated(groups[learn], groups[newer])
    return (learn if alone is None else learn[alone]), newer


def _deal(groups: Rows, classes: Rows | None, hands: int, seed: int) -> Rows:
    """Deal whole groups to hands of about equal size, class by class; return each row's hand, shape (rows,).

    A group's class is that of its first row. Groups larger than a hand go last, so that they never fill the first.
    """
    numbers, first, members = np.unique(groups, return_index=True, return_inverse=True)
    sizes = np.bincount(members)
    kinds = np.zeros(len(numbers), dtype=int) if classes is None else np.unique(classes, return_inverse=True)[1][first]
    shuffled = np.random.default_rng(seed).permutation(len(numbers))
    dealt = np.zeros(len(numbers), dtype=int)
    for kind in np.unique(kinds):
        own = shuffled[kinds[shuffled] == kind]
        total = int(sizes[own].sum())
        own = own[np.argsort(sizes[own] * hands > total, kind="stable")]
        middle = np.cumsum(sizes[own]) - sizes[own] / 2
        dealt[own] = np.minimum((middle * hands / total).astype(int), hands - 1)
    return np.asarray(dealt[members])
