"""Columns that describe no row: constants, points in time, identifiers."""

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import pandas as pd

from trainer.columns import Column
from trainer.cycles import LEAST_ROUNDS, in_words
from trainer.guardrails.rail import Guardrail, State, dropping, found, quoted

#: Text columns with a larger share of different values are identifiers.
IDENTIFIER_SHARE = 0.95


def constant_rail(features: Sequence[Column], keep: frozenset[str]) -> tuple[Guardrail, list[str]]:
    seen, names = [], []
    for column in features:
        present = column.values[~column.missing]
        if not len(present):
            seen.append(f"{column.name!r} has no value at all")
        elif (present == present[0]).all() and (column.exact is None or not _identifier(column)):
            seen.append(f"{column.name!r} is always {_shown(column, present[0])}{_but(column)}")
        else:
            continue
        names.append(column.name)
    return dropping("constant columns", seen, names, keep)


def time_rail(features: Sequence[Column], keep: frozenset[str]) -> tuple[Guardrail, list[str]]:
    """A moment of the training data never comes again; its hour, weekday and day of the year may."""
    times = [column for column in features if column.kind == "time"]
    used = [column for column in times if column.cycles is not None]
    others = [column for column in times if column.cycles is None]
    seen = [f"{column.name!r} holds points in time{_example(column)}, which {_what_of(column)}" for column in times]
    rail, unwanted = dropping("date and time columns", seen, [column.name for column in others], keep)
    if not used:
        override = f"{rail.override} (as categories), or put what matters (hour, weekday, age) into columns of numbers"
        return (msgspec.structs.replace(rail, override=override) if unwanted else rail), unwanted
    learned = [f"used the {in_words(column.cycles.parts)} of {column.name!r}" for column in used if column.cycles]
    done = "; ".join([*learned, *([rail.done] if rail.done else [])])
    override = "; ".join([f"--drop {quoted(used[0].name)}", *([rail.override] if unwanted else [])])
    state: State = "alerted" if rail.state == "alerted" else "done"
    return found("date and time columns", state, seen, done, override, [column.name for column in times]), unwanted


def _what_of(column: Column) -> str:
    if column.cycles is None:
        return (
            "do not come again on the line: learnt as categories, every later one would be unknown to the model; and "
            "no hour, weekday or day of the year can be used: the texts have no one form that the graph reads, or the "
            f"same hours were not seen on {LEAST_ROUNDS['hour']} days, nor the same weekdays in "
            f"{LEAST_ROUNDS['weekday']} weeks, nor the same months in {LEAST_ROUNDS['day of year']} years"
        )
    strays = len(column.values) - int(column.missing.sum()) - column.cycles.form.fits(list(column.values))
    more = f"; {strays} texts of another form are missing values" if strays else ""
    return f"must come on the line in the same form ({column.cycles.form.example}); the moment itself is left out{more}"


def identifier_rail(features: Sequence[Column], keep: frozenset[str]) -> tuple[Guardrail, list[str]]:
    named = [(column.name, why) for column in features if column.cycles is None and (why := _identifier(column))]
    return dropping("identifier columns", [f"{n!r} {why}" for n, why in named], [n for n, _ in named], keep)


def counts_rows(column: Column) -> bool:
    """Whether a column numbers the rows in their order: a whole number that only rises, or only falls."""
    if column.kind != "number" or not column.integral or column.missing.any() or len(column.values) < 2:
        return False
    return _one_way(column.told_apart)


def _identifier(column: Column) -> str | None:
    """Why a column names rows rather than describing them, or None."""
    present = column.told_apart[~column.missing]
    if column.kind != "number":
        unique = len(pd.unique(present))
        return (
            f"has {unique} different texts in {len(present)} rows" if unique > IDENTIFIER_SHARE * len(present) else None
        )
    if not column.integral or len(present) < 2 or len(np.unique(present)) < len(present):
        return None
    if _one_way(present):
        return "counts the rows"
    if int(present.max()) - int(present.min()) < 1.05 * len(present):
        return "numbers each row once"
    return None


def _one_way(numbers: np.ndarray[Any, Any]) -> bool:
    """Whether numbers only rise, or only fall."""
    before, after = numbers[:-1], numbers[1:]  # compared: the difference of unsigned ones is never negative
    return bool((after > before).all() or (after < before).all())


def _but(column: Column) -> str:
    """Numbers that differ in the file and not in float32."""
    present = column.told_apart[~column.missing]
    return " in float32, in which devices compute" if (present != present[0]).any() else ""


def _example(column: Column) -> str:
    present = column.values[~column.missing]
    return f" such as {present[0]!r}" if len(present) else ""


def _shown(column: Column, value: object) -> str:
    return f"{value:g}" if column.kind == "number" else repr(value)
