"""Groups: rows of one machine, batch or person are alike, so all of them belong on one side of the split."""

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from trainer.columns import Column
from trainer.errors import RequestError
from trainer.guardrails.duplicates import APART, Fate
from trainer.guardrails.rail import Guardrail, found, quoted

Codes = np.ndarray[Any, Any]

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


class Grouping(NamedTuple):
    """Which rows belong together: rows with the same code do.

    Attributes:
        codes: shape (rows,).
        fate: of rows with the same inputs.
    """

    codes: Codes
    rail: Guardrail
    fate: Fate


def group_by(column: Column, same: Codes, *, learned: bool) -> Grouping:
    """Group the rows by a named column; groups that share identical rows are one, if enough groups are left then.

    Args:
        same: as `identical_rows` numbers the rows.
        learned: the column is an input of the model as well.

    Raises:
        RequestError: the column has too few groups.
    """
    codes = np.asarray(pd.factorize(column.told_apart, use_na_sentinel=False)[0])
    groups = int(codes.max()) + 1
    if groups < MIN_GROUPS:
        raise RequestError(f"--group {column.name!r} has {groups} groups; at least {MIN_GROUPS} are needed to split by")
    seen = f"{column.name!r} has {groups} groups, as asked"
    done, fate = "each group is either learned from or held out, never both", APART
    joined = _joined(codes, same)
    left = int(joined.max()) + 1
    if left < groups:
        largest = max(int(np.bincount(codes).max()), len(codes) // 2)
        if left >= MIN_GROUPS and int(np.bincount(joined).max()) <= largest:
            codes = joined
            done = f"groups that share identical rows go together, which leaves {left}; {done}"
        else:
            fate = _straddling(column, codes, same)
    if not learned:
        done += "; the column itself is left out of the model, since new groups will come"
    rail = found("groups", "done", [seen], done, f"--keep {quoted(column.name)}", [column.name])
    return Grouping(codes, rail, fate)


def _joined(codes: Codes, same: Codes) -> Codes:
    """Codes by which groups that share identical rows, directly or by other groups between them, are one."""
    order = np.argsort(same, kind="stable")
    one, other = codes[order[:-1]], codes[order[1:]]
    edges = same[order[:-1]] == same[order[1:]]
    groups = int(codes.max()) + 1
    graph = coo_matrix((np.ones(int(edges.sum()), dtype=bool), (one[edges], other[edges])), shape=(groups, groups))
    return np.asarray(connected_components(graph, directed=False)[1])[codes]


def _straddling(column: Column, codes: Codes, same: Codes) -> Fate:
    pairs = pd.DataFrame({"same": same, "group": codes}).drop_duplicates()
    shared = pairs["same"].value_counts()
    rows = int(np.isin(same, shared.index[shared > 1]).sum())
    done = (
        f"kept them; {rows} rows have the same inputs as a row of another group of {column.name!r}, and together "
        "such groups would be too few or too large to divide: so the same rows may be both learned from and held out, "
        "and the figures promise too much then"
    )
    return Fate("alerted", done, "take the repeated rows out of the data, or divide by another --group")


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
    codes = pd.factorize(column.told_apart)[0]
    groups, rows = int(codes.max()) + 1, len(codes)
    if groups < MIN_GROUPS or rows < MEAN_ROWS * groups:
        return None
    runs = int((np.diff(codes) != 0).sum()) + 1
    together = runs == groups and (column.kind == "category" or _counts_up(column.told_apart))
    if together:
        return f"has {groups} values, whose rows stand together in the table: each may be one machine, batch or run"
    return f"has {groups} values and the name of something to which rows belong" if _NAMES.search(column.name) else None


def _counts_up(values: np.ndarray[Any, Any]) -> bool:
    """Whether a number goes up in steps of one, as a counter of groups does and a sorted sensor hardly."""
    steps = np.diff(values)
    return bool(((steps == 0) | (steps == 1)).all())
