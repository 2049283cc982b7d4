"""Parts of the day, the week and the year: what people call the points in time of a column by."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from trainer.columns import Column
from trainer.cycles import Cycle, Cycles

Array = np.ndarray[Any, Any]

#: Rows whose moments stand for those of a table.
MOMENTS, SEED = 2_000, 0
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
#: Of each cycle: the word before a part, and each part's name, from which of the cycle's numbers to which.
CUTS: dict[Cycle, tuple[str, tuple[tuple[str, float, float], ...]]] = {
    "hour": ("from", tuple((f"{hour:02}:00 to {hour + 6:02}:00", hour, hour + 6) for hour in (0, 6, 12, 18))),
    "weekday": ("on a", tuple((day, place, place + 1) for place, day in enumerate(_DAYS, 1))),
    "day of year": (
        "in",
        (
            ("January to March", 1, 91), ("April to June", 91, 182), ("July to September", 182, 274),
            ("October to December", 274, 367),
        ),
    ),
}  # fmt: skip


class Moments(NamedTuple):
    """Points in time of one part of a cycle: its name, a phrase with it, and which texts they are."""

    cycle: Cycle
    name: str
    words: str
    rows: Array


def moments(cycles: Cycles, texts: Array) -> Iterator[Moments]:
    """Return quarters of the day, days of the week and quarters of the year, as far as the column has these cycles."""
    numbers = cycles.numbers(texts)
    for place, cycle in enumerate(cycles.parts):
        at = numbers[:, 3 * place]
        word, parts = CUTS[cycle]
        for name, low, high in parts:
            yield Moments(cycle, name, f"{word} {name}", (at >= low) & (at < high))


def comparable(column: Column) -> list[list[tuple[str, Array]]]:
    """Return for each cycle of a column its parts, by name and with the texts of each, where the table has several."""
    if column.cycles is None:
        return []
    texts = column.values
    if len(texts) > MOMENTS:  # by lot: every n-th row of a log may be of one hour
        texts = texts[np.random.default_rng(SEED).integers(0, len(texts), MOMENTS)]
    found: dict[Cycle, list[tuple[str, Array]]] = {}
    for one in moments(column.cycles, texts):
        if one.rows.any():
            found.setdefault(one.cycle, []).append((one.name, texts[one.rows]))
    return [parts for parts in found.values() if len(parts) > 1]
