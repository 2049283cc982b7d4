"""How the released model was put together: enough to fit it again without another search."""

from typing import Any

import msgspec


class Member(msgspec.Struct, frozen=True):
    """One model of the mean.

    Attributes:
        settled: what it found out while it was tried, such as the number of rounds.
        weight: its share of the mean; those of all members add up to one.
        seeds: of each fit, what is added to the run's seed; of several fits the mean counts. An older Genba gave none,
            and fitted otherwise.
    """

    family: str
    parameters: dict[str, str | int | float | bool | None]
    settled: dict[str, Any]
    weight: float
    seeds: tuple[int, ...] = ()


class Decision(msgspec.Struct, frozen=True):
    """From which probability on a row counts as the positive of two classes.

    Attributes:
        false_alarm_cost, miss_cost: of mistakes, which cost least so; 0 where a metric is best so.
        metric: that one; "": none.
    """

    positive: str
    threshold: float
    false_alarm_cost: float = 0.0
    miss_cost: float = 0.0
    metric: str = ""


class Recipe(msgspec.Struct, frozen=True):
    """A weighted mean of models, its temperature, and the rows that it learned from.

    Attributes:
        rows: rows drawn to learn from, None: all.
    """

    members: tuple[Member, ...]
    rows: int | None = None
    temperature: float = 1.0
    decision: Decision | None = None
