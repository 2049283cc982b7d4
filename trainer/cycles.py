"""Points in time as numbers that come again: hour of the day, weekday, day of the year.

The moment itself is left out: it never comes again, and among rows at random it would give away its neighbours. A cycle
is used where the table went round it often enough for that not to be true of the cycle as well.

Each number is looked up by a whole number, in numpy as in the graph, so both give the same bits.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from trainer.timestamp_forms import Form, read, recognise

Array = np.ndarray[Any, Any]
Cycle = Literal["hour", "weekday", "day of year"]

#: Days, weeks or years in which an hour, a weekday or a month must have been seen, ...
LEAST_ROUNDS: dict[Cycle, int] = {"hour": 7, "weekday": 4, "day of year": 2}
#: ... in this share of the rows, for the cycle to be used.
COMES_AGAIN = 0.9
#: Minutes that are told apart within a day.
STEP_MIN = 15
#: By month, from 1 on; Sakamoto's for the weekday, and days before it in a common year.
WEEKDAY_OF_MONTH = np.array([0, 0, 3, 2, 5, 0, 3, 5, 1, 4, 6, 2, 4], dtype=np.int64)
DAYS_BEFORE = np.array([0, 0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334], dtype=np.int64)


def _round(values: Array, length: int) -> Array:
    """A cycle's value, and its place on the circle: shape (values, 3)."""
    angle = 2 * np.pi * np.arange(length) / length
    return np.stack([values, np.sin(angle), np.cos(angle)], axis=1).astype(np.float32)


#: What each place of a cycle gives, shape (places, 3).
TABLES: dict[Cycle, Array] = {
    "hour": _round(np.arange(0, 24, STEP_MIN / 60), 24 * 60 // STEP_MIN),
    "weekday": _round(np.arange(1, 8), 7),
    "day of year": _round(np.arange(1, 367), 366),
}


@dataclass(frozen=True)
class Cycles:
    """What is used of a column of points in time."""

    form: Form
    parts: tuple[Cycle, ...]

    @property
    def width(self) -> int:
        """Numbers that a text becomes."""
        return sum(TABLES[part].shape[1] for part in self.parts)

    def numbers(self, texts: Array) -> Array:
        """Return float32, shape (rows, width); NaN for a text of another form."""
        moments = read(self.form, texts)
        missing = moments[:, 0] < 0
        places = _places(np.where(missing[:, None], 1, moments))
        found = np.concatenate([TABLES[part][places[part]] for part in self.parts], axis=1)
        found[missing] = np.nan
        return found


def find_cycles(texts: Array) -> Cycles | None:
    """Return what can be used of a column of points in time; None where its form is not known or nothing came again."""
    form = recognise(texts)
    if form is None:
        return None
    moments = read(form, texts)
    moments = moments[moments[:, 0] >= 0]
    places = _places(moments)
    years = moments[:, 0]
    days = 365 * years + (years - 1) // 4 + places["day of year"]
    seen: dict[Cycle, tuple[Array, Array]] = {
        "hour": (moments[:, 3] // 60, days),
        "weekday": (places["weekday"], (days - places["weekday"]) // 7),
        "day of year": (moments[:, 1], years),
    }
    parts = tuple(part for part, (at, rounds) in seen.items() if _comes_again(at, rounds, LEAST_ROUNDS[part]))
    return Cycles(form, parts) if parts else None


def _comes_again(at: Array, rounds: Array, least: int) -> bool:
    """Whether most rows lie where so many rounds have rows, and not all at one place."""
    places, of_row = np.unique(at, return_inverse=True)
    pairs = np.unique(np.stack([of_row, rounds]), axis=1)
    return len(places) > 1 and bool((np.bincount(pairs[0])[of_row] >= least).mean() >= COMES_AGAIN)


def _places(moments: Array) -> dict[Cycle, Array]:
    """Places in TABLES, shape (rows,), as `cycle_graph` finds them."""
    year, month, day, minute = moments.T
    year_of = year - (month < 3)
    weekday = year_of + year_of // 4 - year_of // 100 + year_of // 400 + WEEKDAY_OF_MONTH[month] + day + 6
    return {"hour": minute // STEP_MIN, "weekday": weekday % 7, "day of year": DAYS_BEFORE[month] + day - 1}


def in_words(parts: Sequence[Cycle]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
