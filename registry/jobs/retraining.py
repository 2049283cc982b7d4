"""The rules of a retraining: which rows to hold out, and who won. Pure."""

import itertools
import math
from collections.abc import Sequence
from typing import TypeVar

import msgspec

from registry.errors import CallerError

Row = TypeVar("Row")

#: Blocks of consecutive held-out rows on which champion and challenger are compared, and rows that each must have.
MOST_BLOCKS, FEWEST_BLOCKS, ROWS_PER_BLOCK = 10, 3, 10
#: Student's t for 95 %, one-sided, by degrees of freedom.
_STUDENT = {2: 2.920, 3: 2.353, 4: 2.132, 5: 2.015, 6: 1.943, 7: 1.895, 8: 1.860, 9: 1.833}


class TooFewRowsError(CallerError):
    """There are too few labelled rows to tell a better model from luck."""

    def __init__(self, model: str, rows: int, needed: int) -> None:
        super().__init__(
            f"model {model!r} has {rows} labelled rows to hold out and {needed} are needed;"
            f" send more with POST /api/v1/models/{model}/rows"
        )


class Comparison(msgspec.Struct, frozen=True):
    """Champion and challenger on the same unseen rows. Lower is better; `reason` says in words why `better` is so."""

    metric: str
    champion: float
    challenger: float
    rows: int
    better: bool
    reason: str


def hold_out(rows: Sequence[Row], share: float) -> tuple[Sequence[Row], Sequence[Row]]:
    """Split rows, oldest first, into those to learn from and the newest, which neither model has seen.

    The tail, not a sample: what comes next resembles what came last, and neighbours in time are near copies.
    """
    kept = len(rows) - math.ceil(len(rows) * share)
    return rows[:kept], rows[kept:]


def blocks(rows: int) -> list[slice]:
    """Cut `rows` consecutive rows into blocks of near equal size; none where there are too few."""
    count = min(MOST_BLOCKS, rows // ROWS_PER_BLOCK)
    if count < FEWEST_BLOCKS:
        return []
    edges = [round(index * rows / count) for index in range(count + 1)]
    return [slice(low, high) for low, high in itertools.pairwise(edges)]


def compare(
    metric: str,
    champion: tuple[float, Sequence[float]],
    challenger: tuple[float, Sequence[float]],
    rows: int,
    margin: float,
) -> Comparison:
    """Say whether the challenger is better by more than `margin` and by more than noise.

    Args:
        champion, challenger: the metric on all held-out rows, and on each block of them; lower is better.
        margin: least improvement, as a share of the champion's metric.

    Source: Student, "The Probable Error of a Mean" (1908): the paired t-test, one-sided at 95 %, over blocks of
    consecutive rows, because single rows of one line are not independent.
    """

    def say(better: bool, reason: str) -> Comparison:
        return Comparison(metric, champion[0], challenger[0], rows, better, reason)

    gain = champion[0] - challenger[0]
    if not math.isfinite(challenger[0]):
        return say(False, f"the challenger's {metric} is {challenger[0]}")
    if gain <= margin * abs(champion[0]):
        share = gain / abs(champion[0]) if champion[0] else 0.0
        return say(False, f"the challenger's {metric} is {share:.1%} better, and {margin:.1%} is asked for")
    gains = [before - after for before, after in zip(champion[1], challenger[1], strict=True)]
    mean = sum(gains) / len(gains)
    error = math.sqrt(sum((one - mean) ** 2 for one in gains) / (len(gains) - 1) / len(gains))
    if mean <= _STUDENT[len(gains) - 1] * error:
        return say(False, f"the challenger's gain of {mean:.4g} {metric} is within its noise of {error:.4g}")
    return say(True, f"the challenger's {metric} is {gain / abs(champion[0]):.1%} better on {rows} unseen rows")
