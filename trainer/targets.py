"""The target column: which task it makes, its labelled rows, its classes."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from protocols.manifest import Task
from trainer.columns import Column, type_label
from trainer.errors import OneClassError, TargetError, TooFewRowsError

#: Labelled rows below which nothing can be learned and proven.
MIN_ROWS = 20
#: Whole numbers with at most so many different values are classes.
MAX_INTEGER_CLASSES = 10
#: More classes than this are an identifier or a measurement.
MAX_CLASSES = 200
#: A class with fewer rows cannot be both learned and held out.
MIN_CLASS_ROWS = 5


@dataclass(frozen=True, slots=True)
class Target:
    """What is to be predicted.

    Attributes:
        values: of the labelled rows; float32 for a regression, int64 or str objects for a classification.
        rows: which rows of the table they are, shape (labelled rows,).
        classes: as text, in the order of the model's probabilities.
        unlabelled: rows without a value.
        mixed: values that could not be read as numbers (regression), so count as unlabelled.
        infinite: values that were infinite, so count as unlabelled.
        rare: classes with too few rows, which were left out, and how many rows they had.
    """

    name: str
    task: Task
    values: np.ndarray[Any, Any]
    rows: np.ndarray[Any, Any]
    classes: tuple[str, ...]
    unlabelled: int
    mixed: int
    rare: dict[str, int]
    infinite: int = 0


def read_target(name: str, series: pd.Series, task: Task | None) -> Target:
    """Type the target, decide the task if nobody did, and keep the rows that can be learned from.

    Raises:
        TooFewRowsError: under 20 labelled rows.
        OneClassError: one class, or one class that has enough rows.
        TargetError: it is a date, has no value, or cannot be learned as this task.
    """
    column = type_label(name, series)
    labelled = np.flatnonzero(~column.missing)
    if not len(labelled):
        raise TargetError(f"target {name!r} has no value in any row: fill it in, or name another --target")
    if column.kind == "time":
        raise TargetError(
            f"target {name!r} holds points in time such as {column.values[labelled[0]]!r}, which no model predicts: "
            f"make it a column of numbers, such as hours until then, or name another --target"
        )
    if len(labelled) < MIN_ROWS:
        raise TooFewRowsError(len(labelled), MIN_ROWS, name)
    unique = _counted(column.values[labelled])[0]
    if len(unique) < 2:
        raise OneClassError(name, _label(unique[0]))
    decided = task or _infer_task(column, len(unique))
    if decided == "regression":
        return _regression(column, labelled)
    return _classification(column, labelled, unique)


def as_column(target: Target, rows: np.ndarray[Any, Any] | None = None) -> Column:
    """Return the target as the checks take columns, or some rows of it: classes as texts."""
    values = target.values if rows is None else target.values[rows]
    if target.task == "regression":
        return Column(target.name, "number", values)
    return Column(target.name, "category", values.astype(str).astype(object))


def labels_as_text(values: np.ndarray[Any, Any]) -> list[str]:
    """Return each label as the manifest's classes spell it."""
    codes, different = pd.factorize(values)
    told = [_label(value) for value in different]
    return [told[code] for code in codes]


def _counted(values: np.ndarray[Any, Any]) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """The different values, sorted, and how often each comes; `np.unique` is slow on a million texts."""
    codes, different = pd.factorize(values, sort=True)
    return np.asarray(different), np.bincount(codes, minlength=len(different))


def _infer_task(column: Column, unique: int) -> Task:
    if column.kind == "number" and not (column.integral and unique <= MAX_INTEGER_CLASSES):
        return "regression"
    return "classification"


def _regression(column: Column, labelled: np.ndarray[Any, Any]) -> Target:
    if column.kind != "number":
        raise TargetError(
            f"target {column.name!r} holds text such as {column.values[labelled[0]]!r}, which a regression cannot "
            f"learn: use --task classification or name another --target"
        )
    unlabelled = len(column.values) - len(labelled)
    return Target(
        column.name,
        "regression",
        column.values[labelled],
        labelled,
        (),
        unlabelled - column.mixed - column.infinite,
        column.mixed,
        {},
        column.infinite,
    )


def _classification(column: Column, labelled: np.ndarray[Any, Any], unique: np.ndarray[Any, Any]) -> Target:
    if len(unique) > MAX_CLASSES:
        raise TargetError(
            f"target {column.name!r} has {len(unique)} different values, more than {MAX_CLASSES} classes: "
            f"use --task regression or name another --target"
        )
    values, counts = _counted(column.values[labelled])
    common = counts >= MIN_CLASS_ROWS
    rare = dict(zip(labels_as_text(values[~common]), counts[~common].tolist(), strict=True))
    if common.sum() < 2:
        kept = values[common] if common.any() else values[:1]
        raise OneClassError(column.name, f"{_label(kept[0])}; every other has under {MIN_CLASS_ROWS} rows")
    rows = labelled[np.isin(column.values[labelled], values[common])]
    chosen = column.values[rows]
    if column.kind == "number" and column.integral:
        chosen = chosen.astype(np.int64)
    elif column.kind == "number":
        chosen = np.array(labels_as_text(chosen), dtype=object)
    classes = tuple(_label(value) for value in _counted(chosen)[0])
    unlabelled = len(column.values) - len(labelled) - column.infinite
    return Target(column.name, "classification", chosen, rows, classes, unlabelled, 0, rare, column.infinite)


def _label(value: Any) -> str:
    if isinstance(value, np.floating | float):
        return str(int(value)) if float(value).is_integer() else str(float(value))
    return str(value)
