"""Groups: rows of one machine, batch or person are alike, so all of them belong on one side of the split."""

import re
from collections.abc import Sequence

import numpy as np
import pandas as pd

from trainer.columns import Column
from trainer.errors import RequestError
from trainer.guardrails.rail import Guardrail, found, quoted

#: Fewer groups cannot be divided into some to learn from and some to judge by.
MIN_GROUPS = 5
#: Rows that a group has on average, at least, to be suspected.
MEAN_ROWS = 3
#: Names under which plants keep what rows belong together.
_NAMES = re.compile(
    r"(?:^|[ _.-])(?:unit|engine|machine|batch|lot|coil|wafer|patient|subject|customer|device|vehicle|sample|specimen|"
    r"run|experiment)s?[ _-]*(?:id|no|nr|number|name|code|#)?\.?$",
    re.IGNORECASE,
)


def named_group_rail(column: Column, *, learned: bool) -> Guardrail:
    """Say what the named group does. Raises RequestError where it has too few groups."""
    groups = len(pd.unique(column.values))
    if groups < MIN_GROUPS:
        raise RequestError(f"--group {column.name!r} has {groups} groups; at least {MIN_GROUPS} are needed to split by")
    done = "each group is either learned from or held out, never both"
    if not learned:
        done += "; the column itself is left out of the model, since new groups will come"
    seen = f"{column.name!r} has {groups} groups, as asked"
    return found("groups", "done", [seen], done, f"--keep {quoted(column.name)}", [column.name])


def suspected_group_rail(columns: Sequence[Column]) -> Guardrail:
    """Alert to columns that look as if they said which rows belong together."""
    seen, names = [], []
    for column in columns:
        if why := _suspicion(column):
            seen.append(f"{column.name!r} {why}")
            names.append(column.name)
    if not seen:
        return Guardrail("groups", "passed")
    done = "nothing: if rows of one group are alike, figures on rows at random promise too much for a new group"
    return found("groups", "alerted", seen, done, f"--group {quoted(names[0])}", names)


def _suspicion(column: Column) -> str | None:
    """Why a column may name groups: they stand together in the table, or its name says so."""
    if column.kind == "time" or (column.kind == "number" and not column.integral) or column.missing.any():
        return None
    codes = pd.factorize(column.values)[0]
    groups, rows = int(codes.max()) + 1, len(codes)
    if groups < MIN_GROUPS or rows < MEAN_ROWS * groups:
        return None
    runs = int((np.diff(codes) != 0).sum()) + 1
    together = runs == groups and (column.kind == "category" or _counts_up(column.values))
    if together:
        return f"has {groups} values, whose rows stand together in the table: each may be one machine, batch or run"
    return f"has {groups} values and the name of something to which rows belong" if _NAMES.search(column.name) else None


def _counts_up(values: "np.ndarray[tuple[int], np.dtype[np.float32]]") -> bool:
    """Whether a number goes up in steps of one, as a counter of groups does and a sorted sensor hardly."""
    steps = np.diff(values)
    return bool(((steps == 0) | (steps == 1)).all())
