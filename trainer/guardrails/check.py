"""All guardrails over one table: what may be learned from it, and how its rows may be divided."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from protocols.manifest import Task
from trainer.columns import Column, type_column
from trainer.cycles import find_cycles
from trainer.errors import ColumnNameRefusedError, MissingColumnError, NoFeaturesError, RequestError
from trainer.guardrails.drift import drift_rail
from trainer.guardrails.duplicates import APART, Fate, duplicate_rails, fate_in_time, identical_rows
from trainer.guardrails.groups import group_by, suspected_group_rail
from trainer.guardrails.labels import balance_rails, label_rail, rows_rail, task_rail
from trainer.guardrails.leakage import LEAKAGE, answers_of, find_leak
from trainer.guardrails.order import HELD_OUT_PARTS, Validate, find_clock, order_rail
from trainer.guardrails.outliers import ROWS as OUTLIER_ROWS
from trainer.guardrails.outliers import outlier_rail
from trainer.guardrails.rail import SAMPLE_ROWS, Guardrail, Look, dropping
from trainer.guardrails.rows import constant_rail, identifier_rail, time_rail
from trainer.guardrails.twins import twin_rail
from trainer.guardrails.units import unit_rail
from trainer.guardrails.values import category_rail, missing_rail, mixed_rail
from trainer.row_sample import CLASS_ROWS, ROWS_IN_FILE, kept_rows
from trainer.targets import Target, read_target

#: Names of the graph's outputs, which no input may have.
OUTPUT_NAMES = ("prediction", "probabilities")


@dataclass(frozen=True, slots=True)
class Wishes:
    """How the user overrules the checks.

    Attributes:
        keep, drop: columns that no check may drop, and columns to leave out.
        group: column whose values name groups of rows that belong together.
        validate: whether the newest rows are held out or rows at random; None lets the checks decide.
    """

    keep: Sequence[str] = ()
    drop: Sequence[str] = ()
    group: str | None = None
    validate: Validate | None = None


@dataclass(frozen=True, slots=True)
class CheckedTable:
    """What may be learned from: typed columns and the target, the same rows in the same order.

    Attributes:
        groups: rows with the same number belong on the same side of a split, shape (rows,); None: each row is alone.
        ordered: the rows stand in the order of time, oldest first, and the newest are to be held out.
    """

    features: tuple[Column, ...]
    target: Target
    guardrails: tuple[Guardrail, ...]
    groups: np.ndarray[Any, Any] | None = None
    ordered: bool = False


def check_table(table: pd.DataFrame, target: str, task: Task | None, wishes: Wishes | None = None) -> CheckedTable:
    """Run every guardrail.

    Raises:
        MissingColumnError: target, keep, drop or group names no column.
        RequestError: the wishes contradict each other or the table.
        TableError: what no guardrail can deal with; the text says what.
    """
    wishes = wishes or Wishes()
    _check_names(table, target, wishes)
    kept = kept_rows(table, target)
    table, of_rows = (table, table.attrs.get(ROWS_IN_FILE)) if kept is None else (table.iloc[kept], len(table))
    labels = read_target(target, table[target], task)
    rows = table.iloc[labels.rows]
    columns = [_typed(str(name), rows[name]) for name in rows.columns if name not in (target, *wishes.drop)]
    first = [
        task_rail(labels, task),
        label_rail(labels),
        *balance_rails(labels),
        mixed_rail(columns),
    ]
    features, dropping_rails = _described(columns, labels, wishes)
    first += [rows_rail(labels, len(features)), *dropping_rails]
    same = identical_rows(features)
    groups, fate, group_rail = _groups(columns, same, wishes)
    by_group = wishes.group is not None
    clock = find_clock(_of_the_row(columns, dropping_rails))
    order_found, order = order_rail(clock, _untimed(features), labels, wishes.validate, grouped=by_group)
    if order is not None:
        cut = len(order) - len(order) // HELD_OUT_PARTS
        fate = fate_in_time(same[order[:cut]], same[order[cut:]])
    repeated = duplicate_rails(same, labels, fate)
    if order is not None:
        features, labels, groups = _in_order(features, labels, groups, order)
    others = _untimed(features)
    found = [
        *first,
        *_length_rails(table, of_rows),
        *_sampling_rails(labels),
        missing_rail(features),
        category_rail(others),
        *repeated,
        group_rail,
        order_found,
        drift_rail(features, labels, ordered=order is not None),
        unit_rail(features),
        outlier_rail(features),
        twin_rail(others),
    ]
    if kept is not None:
        labels = replace(labels, rows=kept[labels.rows])
    checked = tuple(replace(column, exact=None) for column in features)
    return CheckedTable(checked, labels, tuple(found), groups, order is not None)


def _check_names(table: pd.DataFrame, target: str, wishes: Wishes) -> None:
    columns = [str(column) for column in table.columns]
    named = [("target", [target]), ("--keep", wishes.keep), ("--drop", wishes.drop)]
    for option, names in [*named, ("--group", [wishes.group] if wishes.group is not None else [])]:
        for name in names:
            if name not in columns:
                raise MissingColumnError(option, name, columns)
    if wishes.group is not None and (wishes.group == target or wishes.group in wishes.drop):
        raise RequestError(f"--group {wishes.group!r} is the target or is dropped: name another column")
    if wishes.group is not None and wishes.validate == "newest":
        raise RequestError("--group and --validate newest divide the rows in two ways: give one of them")


def _typed(name: str, series: pd.Series) -> Column:
    if why := _unfit(name):
        raise ColumnNameRefusedError(f"column {name!r} {why}: rename it, or leave it out with --drop {name!r}")
    return type_column(name, series)


def _unfit(name: str) -> str | None:
    """Why an input of an ONNX graph cannot have this name, or None."""
    if name in OUTPUT_NAMES:
        return f"cannot be an input of the model, whose outputs are {' and '.join(OUTPUT_NAMES)}"
    if not name.strip():
        return "has no name that an ONNX input could have"
    if any(ord(sign) < 32 or ord(sign) == 127 or 0xD800 <= ord(sign) < 0xE000 for sign in name):
        return "has a control or broken character in its name, which an ONNX input cannot carry"
    return None


def _described(columns: Sequence[Column], labels: Target, wishes: Wishes) -> tuple[list[Column], list[Guardrail]]:
    """Leave out the columns that describe no row or know the answer."""
    keep = frozenset(wishes.keep)
    features = [_timed(column) for column in columns if column.name != wishes.group or column.name in keep]
    rails: list[Guardrail] = []
    dropped: list[str] = list(wishes.drop)
    looks: tuple[Look, ...] = (time_rail, constant_rail, identifier_rail, _leakage_rail(labels))
    for look in looks:
        rail, unwanted = look(features, keep)
        rails.append(rail)
        dropped += unwanted
        gone = set(unwanted)
        features = [column for column in features if column.name not in gone]
    if not features:
        raise NoFeaturesError(dropped)
    return features, rails


def _timed(column: Column) -> Column:
    return replace(column, cycles=find_cycles(column.values)) if column.kind == "time" else column


def _untimed(features: Sequence[Column]) -> list[Column]:
    """Columns whose values themselves are learned: a moment always moves on, and is no category."""
    return [column for column in features if column.cycles is None]


def _of_the_row(columns: Sequence[Column], rails: Sequence[Guardrail]) -> list[Column]:
    """Columns but for those that some rows alone have, since their answer is what it is: moments of an event."""
    leaking = {name for rail in rails if rail.check == LEAKAGE for name in rail.columns}
    return [column for column in columns if column.name not in leaking or not column.missing.any()]


def _leakage_rail(target: Target) -> Look:
    answers = answers_of(target)

    def look(features: Sequence[Column], keep: frozenset[str]) -> tuple[Guardrail, list[str]]:
        leaks = [(column.name, why) for column in features if (why := find_leak(column, answers))]
        return dropping(LEAKAGE, [f"{n!r}: {why}" for n, why in leaks], [n for n, _ in leaks], keep)

    return look


def _length_rails(table: pd.DataFrame, rows: int | None) -> list[Guardrail]:
    """Of a table that is too long, with so many rows, a part was taken."""
    if rows is None:
        return []
    seen = f"{rows} rows of {table.shape[1]} columns are more than are held in memory"
    done = (
        f"drew {len(table)} of them, in their order: those with a target first, and of each class at least "
        f"{CLASS_ROWS} where it has as many"
    )
    override = "make a smaller table of the rows that matter; this sample is the same each time"
    return [Guardrail("long table", "done", (seen,), done, override)]


def _sampling_rails(labels: Target) -> list[Guardrail]:
    """Of a long table the slower checks see a part."""
    rows = len(labels.values)
    if rows <= SAMPLE_ROWS:
        return []
    seen = f"{rows} rows are more than each check needs"
    done = (
        f"looked for leaks, drift, time order, changed units and near-duplicates in at most {SAMPLE_ROWS} rows and "
        f"for outliers in {OUTLIER_ROWS}, spread evenly; for duplicates, missing values and identifiers in all"
    )
    return [Guardrail("sampled rows", "done", (seen,), done, "none: the sample is the same each time")]


def _groups(
    columns: Sequence[Column], same: np.ndarray[Any, Any], wishes: Wishes
) -> tuple[np.ndarray[Any, Any] | None, Fate, Guardrail]:
    """Rows that belong together: those of a named group, else those with the same inputs."""
    if wishes.group is None:
        several = int(same.max()) + 1 < len(same)
        return (same if several else None), APART, suspected_group_rail(columns)
    named = next(column for column in columns if column.name == wishes.group)
    grouping = group_by(named, same, learned=wishes.group in wishes.keep)
    return grouping.codes, grouping.fate, grouping.rail


def _in_order(
    features: Sequence[Column], labels: Target, groups: np.ndarray[Any, Any] | None, order: np.ndarray[Any, Any]
) -> tuple[list[Column], Target, np.ndarray[Any, Any] | None]:
    """The same rows, oldest first."""
    ordered = [replace(column, values=column.values[order], exact=None) for column in features]
    target = replace(labels, values=labels.values[order], rows=labels.rows[order])
    return ordered, target, None if groups is None else groups[order]
