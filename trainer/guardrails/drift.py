"""Drift within the table: does its last part come from the same process as its first?"""

from collections.abc import Sequence

import numpy as np

from trainer.columns import Column
from trainer.guardrails.rail import Guardrail, evenly, found, quoted
from trainer.guardrails.shift import Array, fell_silent, moved
from trainer.targets import Target, as_column

CHECK = "drift within the table"


def drift_rail(features: Sequence[Column], target: Target, *, ordered: bool) -> Guardrail:
    """Compare the first and the last third of the rows: the target, the columns, and how many of their values lack.

    Args:
        ordered: the rows stand in the order of time, and the newest are held out.
    """
    rows = evenly(len(target.values))
    third = len(rows) // 3
    first, last = rows[:third], rows[-third:]
    told = [(column.name, said) for column in features if (said := moved(column, first, last))]
    by_target = _sorted(target.values)
    sides = np.arange(third), np.arange(len(rows) - third, len(rows))
    if not by_target and (said := moved(as_column(target, rows), *sides)):
        told.insert(0, (target.name, said))
    if not told:
        return Guardrail(CHECK, "passed")
    names, seen = [name for name, _ in told], [f"from the first to the last third {said}" for _, said in told]
    silent = [(column.name, said) for column in features if (said := fell_silent(column, first, last))]
    more = f"; where {quoted(silent[0][0])} has no value it is learned from as missing" if silent else ""
    drop = f", or --drop {quoted(silent[0][0])}" if silent else ""
    if ordered:
        done = f"held out the newest rows, so that the figures contain the drift{more}"
        return found(CHECK, "done", seen, done, f"--validate random{drop}", names)
    if by_target:
        why = f"the table is sorted by its target {target.name!r}, so its order says nothing of time"
        seen = [why, *(said for _, said in silent)]
    done = f"held out rows at random, since no column says that the order of the file is that of time{more}"
    return found(CHECK, "alerted", seen, done, f"--validate newest{drop}", names)


def _sorted(values: Array) -> bool:
    """Whether equal labels, or rising numbers, stand together: as many changes as there are classes, or one way."""
    if values.dtype == np.float32:
        before, after = values[:-1], values[1:]
        return bool((after >= before).all() or (after <= before).all())
    return int((values[1:] != values[:-1]).sum()) < len(set(values.tolist()))
