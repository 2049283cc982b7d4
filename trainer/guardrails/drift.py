"""Drift within the table: does its last part come from the same process as its first?"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from trainer.columns import Column
from trainer.guardrails.rail import Guardrail, evenly, found
from trainer.guardrails.shift import moved
from trainer.targets import Target


def drift_rail(features: Sequence[Column], target: Target, *, ordered: bool) -> Guardrail:
    """Compare the first and the last third of the rows.

    Args:
        ordered: the rows stand in the order of time, and the newest are held out.
    """
    rows = evenly(len(target.values))
    third = len(rows) // 3
    first, last = rows[:third], rows[-third:]
    told = [(column.name, said) for column in features if (said := moved(column, first, last))]
    if not told:
        return Guardrail("drift within the table", "passed")
    names, seen = [name for name, _ in told], [f"from the first to the last third {said}" for _, said in told]
    if ordered:
        done = "held out the newest rows, so that the figures contain the drift"
        return found("drift within the table", "done", seen, done, "--validate random", names)
    if _sorted(target.values):
        seen = [f"the table is sorted by its target {target.name!r}, so its order says nothing of time"]
    done = "held out rows at random, since no column says that the order of the file is that of time"
    return found("drift within the table", "alerted", seen, done, "--validate newest", names)


def _sorted(values: np.ndarray[Any, Any]) -> bool:
    """Whether equal labels, or rising numbers, stand together: as many changes as there are classes, or one way."""
    if values.dtype == np.float32:
        steps = np.diff(values)
        return bool((steps >= 0).all() or (steps <= 0).all())
    return int((values[1:] != values[:-1]).sum()) < len(set(values.tolist()))
