"""Cycles in the graph: a text of a point in time is taken apart and looked up, by operators of opset 20.

A text of another form becomes an example of the form first, since a number that cannot be read would be an error of the
whole batch, and NaN last.
"""

import numpy as np

from trainer.cycles import DAYS_BEFORE, STEP_MIN, TABLES, WEEKDAY_OF_MONTH, Cycle, Cycles
from trainer.graph.builder import INT64, GraphBuilder


def write_cycles(builder: GraphBuilder, text: str, cycles: Cycles) -> str:
    """Add what makes a text input, shape (rows, 1), the numbers of its cycles; return them, shape (rows, width)."""
    form = cycles.form
    known = builder.add("RegexFullMatch", text, pattern=form.pattern)
    safe = builder.add("Where", known, text, builder.constant(np.array([[form.example]], dtype=object)))
    date, clock = _split(builder, safe, form.between, 2) if form.between else (safe, "")
    parts = _split(builder, date, form.mark, 3)
    places: dict[Cycle, str] = {}
    if "hour" in cycles.parts:
        places["hour"] = _hour(builder, clock)
    if cycles.parts != ("hour",):
        year, month, day = (_whole(builder, parts[form.order.index(part)]) for part in "ymd")
        if "weekday" in cycles.parts:
            places["weekday"] = _weekday(builder, year, month, day)
        if "day of year" in cycles.parts:
            before = builder.add("Gather", builder.constant(DAYS_BEFORE - 1), month)
            places["day of year"] = builder.add("Add", before, day)
    width = builder.constant([-1, 3], np.int64)
    found = [
        builder.add("Reshape", builder.add("Gather", builder.constant(TABLES[part]), places[part]), width)
        for part in cycles.parts
    ]
    joined = found[0] if len(found) == 1 else builder.add("Concat", *found, axis=1)
    return builder.add("Where", known, joined, builder.constant(np.float32(np.nan)))


def _hour(builder: GraphBuilder, clock: str) -> str:
    hour, minute = (_whole(builder, part) for part in _split(builder, clock, ":", 2, more=1))
    quarters = builder.add("Mul", hour, builder.constant(60 // STEP_MIN, np.int64))
    return builder.add("Add", quarters, builder.add("Div", minute, builder.constant(STEP_MIN, np.int64)))


def _weekday(builder: GraphBuilder, year: str, month: str, day: str) -> str:
    early = builder.add("Cast", builder.add("Less", month, builder.constant(3, np.int64)), to=INT64)
    year = builder.add("Sub", year, early)
    every = [builder.add("Div", year, builder.constant(span, np.int64)) for span in (4, 100, 400)]
    total = builder.add("Sub", builder.add("Add", year, every[0]), every[1])
    of_month = builder.add("Gather", builder.constant(WEEKDAY_OF_MONTH + 6), month)
    for more in (every[2], of_month, day):
        total = builder.add("Add", total, more)
    return builder.add("Mod", total, builder.constant(7, np.int64))


def _split(builder: GraphBuilder, text: str, mark: str, parts: int, *, more: int = 0) -> list[str]:
    """The first parts of a text, each of shape (rows, 1); `more` that may follow stay in one piece."""
    found, _ = builder.add_many("StringSplit", text, outputs=2, delimiter=mark, maxsplit=parts - 1 + more)
    return [builder.add("Gather", found, builder.constant(place, np.int64), axis=-1) for place in range(parts)]


def _whole(builder: GraphBuilder, text: str) -> str:
    return builder.add("Cast", text, to=INT64)
