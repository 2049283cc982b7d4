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

#: Days that a table must cover for a cycle to be used.
LEAST_DAYS: dict[Cycle, int] = {"hour": 3, "weekday": 21, "day of year": 730}
#: Moments at either end that do not count for that, by share: a wrong year among them makes no span.
STRAY = 0.01
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
    days = np.sort(moments[:, 0] * 366 + places["day of year"])
    low, high = days[int(STRAY * len(days))], days[-1 - int(STRAY * len(days))]
    parts = tuple(
        part for part, least in LEAST_DAYS.items() if high - low + 1 >= least and len(np.unique(places[part])) > 1
    )
    return Cycles(form, parts) if parts else None


def _places(moments: Array) -> dict[Cycle, Array]:
    """Places in TABLES, shape (rows,), as `cycle_graph` finds them."""
    year, month, day, minute = moments.T
    year_of = year - (month < 3)
    weekday = year_of + year_of // 4 - year_of // 100 + year_of // 400 + WEEKDAY_OF_MONTH[month] + day + 6
    return {"hour": minute // STEP_MIN, "weekday": weekday % 7, "day of year": DAYS_BEFORE[month] + day - 1}


def in_words(parts: Sequence[Cycle]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
