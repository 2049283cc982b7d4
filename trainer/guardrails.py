"""Guardrails: what was looked for in the data, what was seen, what was done about it, and how to overrule it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import msgspec
import numpy as np
import pandas as pd

from protocols.manifest import Task
from trainer.columns import Column, type_column
from trainer.errors import ColumnNameRefusedError, MissingColumnError, NoFeaturesError
from trainer.leakage import find_leak
from trainer.targets import MIN_CLASS_ROWS, Target, labels_as_text, read_target

#: Names of the graph's outputs, which no input may have.
OUTPUT_NAMES = ("prediction", "probabilities")
#: Rows under which figures are too rough to trust.
FEW_ROWS = 200
#: Missing in more than this share: alerted.
MANY_MISSING = 0.3
#: A class with a smaller share is rare.
RARE_CLASS = 0.05
#: Text columns with a larger share of different values are identifiers.
IDENTIFIER_SHARE = 0.95
#: Whole numbers with at most so many different values may be codes.
AMBIGUOUS_VALUES = 50
#: Categories that the model tells apart in one column; the rest count as unseen.
MAX_CATEGORIES = 64

State = Literal["passed", "done", "alerted"]


class Guardrail(msgspec.Struct, frozen=True, omit_defaults=True):
    """One check of the data.

    Attributes:
        check: what was looked for.
        state: `passed` nothing found, `done` found and dealt with, `alerted` found and left for a person to judge.
        seen: what was found, one line for each column.
        done: what was done about it.
        override: how to have it otherwise.
        columns: which columns it concerns.
    """

    check: str
    state: State
    seen: tuple[str, ...] = ()
    done: str = ""
    override: str = ""
    columns: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CheckedTable:
    """What may be learned from: typed columns and the target, the same rows in the same order."""

    features: tuple[Column, ...]
    target: Target
    guardrails: tuple[Guardrail, ...]


def check_table(
    table: pd.DataFrame, target: str, task: Task | None, keep: Sequence[str] = (), drop: Sequence[str] = ()
) -> CheckedTable:
    """Run every guardrail.

    Raises:
        MissingColumnError: target, keep or drop names no column.
        TableError: what no guardrail can deal with; the text says what.
    """
    columns = [str(column) for column in table.columns]
    for option, names in (("target", [target]), ("--keep", keep), ("--drop", drop)):
        for name in names:
            if name not in columns:
                raise MissingColumnError(option, name, columns)
    labels = read_target(target, table[target], task)
    rows = table.iloc[labels.rows]
    features = [_typed(name, rows[name]) for name in columns if name != target and name not in drop]
    found = [
        _task_rail(labels, task),
        _rows_rail(labels),
        _label_rail(labels),
        *_balance_rails(labels),
        _mixed_rail(features),
    ]
    dropped: list[str] = list(drop)
    for look in (_time_rail, _constant_rail, _identifier_rail, _leakage_rail(labels)):
        rail, unwanted = look(features, frozenset(keep))
        found.append(rail)
        dropped += unwanted
        features = [column for column in features if column.name not in unwanted]
    if not features:
        raise NoFeaturesError(dropped)
    found += [_missing_rail(features), _category_rail(features)]
    return CheckedTable(tuple(features), labels, tuple(found))


def _typed(name: str, series: pd.Series) -> Column:
    if name in OUTPUT_NAMES or not name.strip():
        raise ColumnNameRefusedError(
            f"column {name!r} cannot be an input of the model, whose outputs are {' and '.join(OUTPUT_NAMES)}: "
            f"rename it, or leave it out with --drop {name!r}"
        )
    return type_column(name, series)


Look = Callable[[Sequence[Column], frozenset[str]], tuple[Guardrail, list[str]]]


def _task_rail(target: Target, asked: Task | None) -> Guardrail:
    """Whole numbers may be amounts or codes: what was made of them is told."""
    whole = target.values.dtype != object and bool((target.values == np.round(target.values)).all())
    unique = len(np.unique(target.values)) if whole else 0
    if asked or unique <= 2 or unique > AMBIGUOUS_VALUES:
        return Guardrail("task", "passed", (target.task,))
    other = "classification" if target.task == "regression" else "regression"
    seen = f"{target.name!r} has {unique} different whole numbers, which may be amounts or codes of classes"
    return Guardrail("task", "alerted", (seen,), f"took it as a {target.task}", f"--task {other}", (target.name,))


def _rows_rail(target: Target) -> Guardrail:
    rows = len(target.values)
    if rows >= FEW_ROWS:
        return Guardrail("enough rows", "passed", (f"{rows} labelled rows",))
    seen = f"{rows} labelled rows; under {FEW_ROWS} the figures below are rough"
    return Guardrail("enough rows", "alerted", (seen,), "nothing", "add rows")


def _label_rail(target: Target) -> Guardrail:
    seen = []
    if target.unlabelled:
        seen.append(f"{target.unlabelled} rows have no value in {target.name!r}")
    if target.mixed:
        seen.append(f"{target.mixed} rows have text instead of a number in {target.name!r}")
    if not seen:
        return Guardrail("labels", "passed")
    state: State = "alerted" if target.mixed else "done"
    return Guardrail("labels", state, tuple(seen), "left these rows out", "fill in the target", (target.name,))


def _balance_rails(target: Target) -> list[Guardrail]:
    if target.task == "regression":
        return []
    rails = []
    if target.rare:
        seen = tuple(f"class {name!r} has {count} rows" for name, count in target.rare.items())
        done = f"left out classes with under {MIN_CLASS_ROWS} rows"
        rails.append(Guardrail("rare classes", "done", seen, done, "add rows of these classes", (target.name,)))
    names, counts = np.unique(labels_as_text(target.values), return_counts=True)
    shares = dict(zip(names.tolist(), (counts / counts.sum()).tolist(), strict=True))
    rare = [f"class {name!r} is {share:.2%} of the rows" for name, share in shares.items() if share < RARE_CLASS]
    if rare:
        done = "kept all rows: the metric (log loss) stays honest under imbalance, accuracy alone would not"
        rails.append(Guardrail("class balance", "alerted", tuple(rare), done, "add rows of the rare class"))
    else:
        rails.append(Guardrail("class balance", "passed"))
    return rails


def _mixed_rail(features: Sequence[Column]) -> Guardrail:
    seen, names = [], []
    for column in features:
        examples = ", ".join(repr(example) for example in column.examples)
        if column.mixed and column.kind == "number":
            seen.append(f"{column.name!r} has {column.mixed} texts among its numbers ({examples}): made missing")
        elif column.mixed:
            seen.append(f"{column.name!r} has {column.mixed} numbers among its texts ({examples}): made categories")
        if column.infinite:
            seen.append(f"{column.name!r} has {column.infinite} infinite numbers: made missing")
        if column.mixed or column.infinite:
            names.append(column.name)
    if not seen:
        return Guardrail("mixed types", "passed")
    return Guardrail("mixed types", "alerted", tuple(seen), "as said", "correct the data or --drop", tuple(names))


def _constant_rail(features: Sequence[Column], keep: frozenset[str]) -> tuple[Guardrail, list[str]]:
    seen, names = [], []
    for column in features:
        present = column.values[~column.missing]
        if not len(present):
            seen.append(f"{column.name!r} has no value at all")
        elif (present == present[0]).all():
            seen.append(f"{column.name!r} is always {_shown(column, present[0])}")
        else:
            continue
        names.append(column.name)
    return _drop_rail("constant columns", seen, names, keep)


def _time_rail(features: Sequence[Column], keep: frozenset[str]) -> tuple[Guardrail, list[str]]:
    """A moment of the training data never comes again, and a graph cannot read a date."""
    found = [column for column in features if column.kind == "time"]
    seen = [
        f"{column.name!r} holds points in time{_example(column)}, which do not come again on the line: learnt as "
        "categories, every later one would be unknown to the model"
        for column in found
    ]
    rail, unwanted = _drop_rail("date and time columns", seen, [column.name for column in found], keep)
    if not unwanted:
        return rail, unwanted
    override = f"{rail.override} (as categories), or put what matters (hour, weekday, age) into columns of numbers"
    return msgspec.structs.replace(rail, override=override), unwanted


def _example(column: Column) -> str:
    present = column.values[~column.missing]
    return f" such as {present[0]!r}" if len(present) else ""


def _identifier_rail(features: Sequence[Column], keep: frozenset[str]) -> tuple[Guardrail, list[str]]:
    found = [(column.name, why) for column in features if (why := _identifier(column))]
    return _drop_rail("identifier columns", [f"{n!r} {why}" for n, why in found], [n for n, _ in found], keep)


def _identifier(column: Column) -> str | None:
    """Why a column names rows rather than describing them, or None."""
    present = column.values[~column.missing]
    unique = len(np.unique(present))
    if column.kind != "number":
        return (
            f"has {unique} different texts in {len(present)} rows" if unique > IDENTIFIER_SHARE * len(present) else None
        )
    if not column.integral or unique < len(present):
        return None
    steps = np.diff(present.astype(np.float64))
    if (steps > 0).all() or (steps < 0).all():
        return "counts the rows"
    if np.ptp(present) < 1.05 * len(present):
        return "numbers each row once"
    return None


def _leakage_rail(target: Target) -> Look:
    def look(features: Sequence[Column], keep: frozenset[str]) -> tuple[Guardrail, list[str]]:
        found = [(column.name, why) for column in features if (why := find_leak(column, target))]
        return _drop_rail("target leakage", [f"{n!r}: {why}" for n, why in found], [n for n, _ in found], keep)

    return look


def _drop_rail(
    check: str, seen: Sequence[str], names: Sequence[str], keep: frozenset[str]
) -> tuple[Guardrail, list[str]]:
    """One guardrail that drops what it finds, but for what somebody wants kept."""
    if not names:
        return Guardrail(check, "passed"), []
    unwanted = [name for name in names if name not in keep]
    kept = [name for name in names if name in keep]
    done = []
    if unwanted:
        done.append(f"dropped {_list(unwanted)}")
    if kept:
        done.append(f"kept {_list(kept)} as asked")
    override = f"--keep {_quoted(unwanted[0])}" if unwanted else f"--drop {_quoted(kept[0])}"
    state: State = "alerted" if kept else "done"
    return Guardrail(check, state, tuple(seen), "; ".join(done), override, tuple(names)), unwanted


def _missing_rail(features: Sequence[Column]) -> Guardrail:
    shares = {column.name: float(column.missing.mean()) for column in features if column.missing.any()}
    if not shares:
        return Guardrail("missing values", "passed")
    many = [name for name, share in shares.items() if share > MANY_MISSING]
    seen = tuple(f"{name!r} lacks {share:.1%} of its values" for name, share in shares.items())
    done = "the model fills a missing number with the median and takes a missing text as a category of its own"
    override = f"--drop {_quoted((many or list(shares))[0])}"
    return Guardrail("missing values", "alerted" if many else "done", seen, done, override, tuple(shares))


def _category_rail(features: Sequence[Column]) -> Guardrail:
    seen, names = [], []
    for column in features:
        unique = len(np.unique(column.values)) if column.kind != "number" else 0
        if unique > MAX_CATEGORIES:
            seen.append(f"{column.name!r} has {unique} different texts")
            names.append(column.name)
    if not seen:
        return Guardrail("many categories", "passed")
    done = f"the model tells the {MAX_CATEGORIES} most frequent apart and takes all others as unseen"
    return Guardrail("many categories", "alerted", tuple(seen), done, f"--drop {_quoted(names[0])}", tuple(names))


def _shown(column: Column, value: object) -> str:
    return f"{value:g}" if column.kind == "number" else repr(value)


def _list(names: Sequence[str]) -> str:
    return ", ".join(repr(name) for name in names)


def _quoted(name: str) -> str:
    return f'"{name}"' if not name.replace("_", "").isalnum() else name
