"""Time: where the process moves, a model must be judged on rows newer than those that it learned from.

Rows at random would let it look up a moment from the moments around it. So where a column tells the order of the rows
and the target or a column moves along it, the newest rows are held out, and the search validates on newer rows too.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from trainer.columns import Column
from trainer.guardrails.moments import moments
from trainer.guardrails.rail import Guardrail, evenly, found, quoted
from trainer.guardrails.rows import counts_rows
from trainer.guardrails.shift import moved
from trainer.targets import Target, as_column

Validate = Literal["newest", "random"]

#: One row in so many is held out: the model never learns from it in the search, and is measured on it.
HELD_OUT_PARTS = 5
#: Share of the rows, the newest, that is compared with the rest; what is held out is as much.
NEWEST_SHARE = 1 / HELD_OUT_PARTS
#: A time column orders rows only if it has at least so many different moments.
MIN_MOMENTS = 20
#: ... and a column that a larger share of the rows lacks tells of an event (a repair), not of the row.
MOSTLY_EMPTY = 0.5
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

    Of time columns that most rows have the finest; else a number that counts the rows, or that has the name of a time
    and never falls.
    """
    best: tuple[int, Column, np.ndarray[Any, Any]] | None = None
    for column in columns:
        if column.kind != "time" or column.missing.mean() > MOSTLY_EMPTY:
            continue
        if (at := moments(column.values)) is not None:
            different = len(np.unique(at))
            if different >= MIN_MOMENTS and (best is None or different > best[0]):
                best = different, column, at
    if best is not None:
        return Clock(best[1].name, np.argsort(best[2], kind="stable"))
    counter = next((column for column in columns if counts_rows(column) or _rises_as_time(column)), None)
    return Clock(counter.name, np.argsort(counter.told_apart, kind="stable")) if counter else None


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
        rows = f"rows in the order of {by}"
        return Guardrail("time order", "done", (rows,), "held out the newest, as asked", "--validate random"), order
    if clock is None:
        return Guardrail("time order", "passed"), None
    ordered = clock.order[evenly(len(clock.order))]
    cut = round((1 - NEWEST_SHARE) * len(ordered))
    seen = _movement([as_column(target), *columns], ordered[:cut], ordered[cut:])
    seen = [f"along {clock.name!r} {seen[0]}", *seen[1:]] if seen else []
    newest, name = "--validate newest" + " in place of --group" * grouped, (clock.name,)
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
    values = column.told_apart
    return bool((values[1:] >= values[:-1]).all()) and len(np.unique(values)) >= MIN_MOMENTS


def _movement(columns: Sequence[Column], first: np.ndarray[Any, Any], last: np.ndarray[Any, Any]) -> list[str]:
    seen = [said for column in columns if (said := moved(column, first, last))]
    return seen if len(seen) <= NAMED else [*seen[:NAMED], f"and {len(seen) - NAMED} more columns"]


def _unlearned(order: np.ndarray[Any, Any], target: Target) -> str | None:
    """A class that the older rows lack."""
    if target.task == "regression":
        return None
    older = target.values[order[: round((1 - NEWEST_SHARE) * len(order))]]
    lost = set(np.unique(target.values).tolist()) - set(np.unique(older).tolist())
    return str(min(lost)) if lost else None
