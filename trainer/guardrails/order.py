"""Time: where the process moves, a model must be judged on rows newer than those that it learned from.

Rows at random would let it look up a moment from the moments around it. So where a column tells the order of the rows
and the target or a column moves along it, the newest rows are held out, and the search validates on newer rows too.
"""

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from trainer.columns import Column
from trainer.guardrails.rail import Guardrail, evenly, found, quoted
from trainer.guardrails.rows import counts_rows
from trainer.guardrails.shift import moved
from trainer.targets import Target

Validate = Literal["newest", "random"]

#: Share of the rows, the newest, that is compared with the rest; what is held out is as much.
NEWEST_SHARE = 0.2
#: A time column orders rows only if it has at least so many different moments.
MIN_MOMENTS = 20
#: Texts that cannot be read as points in time, at most.
UNREADABLE = 0.05
#: Names of numbers that may be times: seconds since a start, a day's number.
_TIME_NAMES = re.compile(
    r"(?:^|[^a-z])(?:date|time|timestamp|datetime|day|hour|week|month|year|epoch|ts)(?:$|[^a-z])", re.I
)
#: Columns named in one sentence.
NAMED = 4


@dataclass(frozen=True, slots=True)
class Clock:
    """What tells the order of the rows: a column's name, and positions of the rows, oldest first."""

    name: str
    order: np.ndarray[Any, Any]


def find_clock(columns: Sequence[Column]) -> Clock | None:
    """Return the column that tells the order of the rows.

    Of time columns the finest; else a number that counts the rows, or that has the name of a time and never falls.
    """
    best: tuple[int, Column, np.ndarray[Any, Any]] | None = None
    for column in columns:
        if column.kind == "time" and (moments := _moments(column)) is not None:
            different = len(np.unique(moments))
            if different >= MIN_MOMENTS and (best is None or different > best[0]):
                best = different, column, moments
    if best is not None:
        return Clock(best[1].name, np.argsort(best[2], kind="stable"))
    counter = next((column for column in columns if counts_rows(column) or _rises_as_time(column)), None)
    return Clock(counter.name, np.argsort(counter.values, kind="stable")) if counter else None


def order_rail(
    clock: Clock | None, columns: Sequence[Column], target: Target, asked: Validate | None, *, grouped: bool
) -> tuple[Guardrail, np.ndarray[Any, Any] | None]:
    """Decide whether the newest rows are held out, and return their order, oldest first, if so.

    Args:
        columns: what is learned from, the target's rows.
        asked: what the user wants, if he said so.
        grouped: a named group decides the split instead.
    """
    if asked == "newest":
        order = clock.order if clock else np.arange(len(target.values))
        by = f"{clock.name!r}" if clock else "the order of the file"
        return Guardrail("time order", "done", (f"rows in the order of {by}",), "held out the newest, as asked"), order
    if clock is None:
        return Guardrail("time order", "passed"), None
    ordered = clock.order[evenly(len(clock.order))]
    cut = round((1 - NEWEST_SHARE) * len(ordered))
    seen = _movement([_as_column(target), *columns], ordered[:cut], ordered[cut:])
    seen = [f"along {clock.name!r} {seen[0]}", *seen[1:]] if seen else []
    newest, name = "--validate newest", (clock.name,)
    if not seen or asked == "random" or grouped:
        why = "held out rows at random, as asked" if asked else "held out whole groups, as asked"
        return found("time order", "alerted", seen, why, newest, name), None
    if lost := _unlearned(clock.order, target):
        why = f"held out rows at random: the class {lost!r} is among the newest rows alone"
        return found("time order", "alerted", seen, why, f"--drop {quoted(clock.name)}", name), None
    done = (
        f"learned from the older rows and held out the newest {NEWEST_SHARE:.0%}: figures on rows at random would "
        "promise too much"
    )
    return found("time order", "done", seen, done, "--validate random", name), clock.order


def _rises_as_time(column: Column) -> bool:
    if column.kind != "number" or not _TIME_NAMES.search(column.name) or column.missing.any():
        return False
    return bool((np.diff(column.values) >= 0).all()) and len(np.unique(column.values)) >= MIN_MOMENTS


def _movement(columns: Sequence[Column], first: np.ndarray[Any, Any], last: np.ndarray[Any, Any]) -> list[str]:
    seen = [said for column in columns if (said := moved(column, first, last))]
    return seen if len(seen) <= NAMED else [*seen[:NAMED], f"and {len(seen) - NAMED} more columns"]


def _as_column(target: Target) -> Column:
    kind: Any = "category" if target.task == "classification" else "number"
    values = target.values if target.task == "regression" else target.values.astype(str).astype(object)
    return Column(target.name, kind, values)


def _unlearned(order: np.ndarray[Any, Any], target: Target) -> str | None:
    """A class that the older rows lack."""
    if target.task == "regression":
        return None
    older = target.values[order[: round((1 - NEWEST_SHARE) * len(order))]]
    lost = set(np.unique(target.values).tolist()) - set(np.unique(older).tolist())
    return str(min(lost)) if lost else None


def _moments(column: Column) -> np.ndarray[Any, Any] | None:
    """Points in time as numbers, missing as the earliest; None where they cannot be read."""
    texts = pd.Series(column.values, dtype=object)
    if any("年" in text for text in column.values[evenly(len(texts), 500)]):
        texts = texts.str.replace("[年月]", "-", regex=True).str.rstrip("日")
    texts = texts.mask(texts == "")
    present = texts.dropna()
    sample = present.iloc[evenly(len(present), 500)]
    best = min((False, True), key=lambda day_first: int(_parsed(sample, day_first=day_first).isna().sum()))
    read = _parsed(texts, day_first=best)
    if read.isna().sum() - texts.isna().sum() > UNREADABLE * len(texts):
        return None
    moments = read.to_numpy(dtype="datetime64[ns]").astype(np.int64)  # NaT is the least of them
    return np.asarray(moments)


def _parsed(texts: "pd.Series[Any]", *, day_first: bool) -> "pd.Series[Any]":
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pandas warns where it falls back to guessing row by row
        read = pd.to_datetime(texts, errors="coerce", dayfirst=day_first, utc=True)
    return read.dt.tz_localize(None)
