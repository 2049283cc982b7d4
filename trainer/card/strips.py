"""Plots of characters: a column beside a table's numbers, for where no picture can be shown."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite

#: Characters that a plot is wide, and what a bar's end is made of: eighths of one.
WIDTH, EIGHTHS = 24, "▏▎▍▌▋▊▉█"
FILL, DOT, RING, DIAMOND = "·", "●", "○", "◆"

#: A character, and the value at which it stands.
Mark = tuple[str, float]


@dataclass(frozen=True, slots=True)
class Strip:
    """What is drawn, in a few words, and a line of characters for each row of the table."""

    head: str
    cells: tuple[str, ...]


def bar_strip(head: str, values: Sequence[float]) -> Strip:
    """Draw a bar for each value from zero, the longest for the largest; less than zero has none."""
    most = max((value for value in values if isfinite(value)), default=0.0)
    return Strip(head, tuple(_bar(value / most) if isfinite(value) and value > 0 else "" for value in values))


def _bar(share: float) -> str:
    whole, rest = divmod(max(1, round(share * WIDTH * len(EIGHTHS))), len(EIGHTHS))
    return EIGHTHS[-1] * whole + (EIGHTHS[rest - 1] if rest else "")


def mark_strip(what: str, rows: Sequence[Sequence[Mark]], ends: tuple[float, float] | None = None) -> Strip:
    """Draw the marks of each row where their values lie between the ends; the head says which these are.

    Args:
        what: names the marks.
        rows: of marks at one place the last is seen.
        ends: of the scale; None: the lowest and the highest value.
    """
    every = [value for row in rows for _, value in row if isfinite(value)]
    low, high = ends or (min(every, default=0.0), max(every, default=0.0))
    return Strip(f"{what}, {low:.3g} to {high:.3g}", tuple(_line(row, low, high) for row in rows))


def _line(marks: Sequence[Mark], low: float, high: float) -> str:
    line = [FILL] * WIDTH
    for mark, value in marks:
        if isfinite(value):
            share = (value - low) / (high - low) if high > low else 0.5
            line[round(min(max(share, 0.0), 1.0) * (WIDTH - 1))] = mark
    return "".join(line)
