"""Where float32, in which devices feed a model, is not what the sample's float64 numbers are, and what comes of it.

Two things are looked for: whole numbers above 2^24 (identifiers, epochs, counters) that float32 cannot hold, and rows
to which the original answers otherwise once their numbers are float32, mostly because a threshold lies between the two.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from protocols.manifest import Tolerance
from trainer.columns import Column
from trainer.errors import ImportRefusedError
from trainer.guardrails.rail import Guardrail, found

Array = np.ndarray[Any, Any]
#: What the original gives for a table whose numbers are float64: (rows,) or (rows, classes).
Exact = Callable[[pd.DataFrame], Array]

CHECK = "numbers in float32"
#: Rows that are answered, and of those that differ how many are traced to a column.
_LOOKED_AT, _TRACED = 2000, 5


def float_rail(table: pd.DataFrame, features: Sequence[Column], exact: Exact | None, tolerance: Tolerance) -> Guardrail:
    """Return what float32 does to the sample, and to the original's answers.

    Args:
        features: the model's columns, in the order in which `exact` takes them.
        exact: None where the original computes in float32 itself.
        tolerance: of the answers; what is nearer is no finding.
    """
    columns = [column.name for column in features if column.kind == "number"]
    wide = pd.DataFrame({column.name: _as_given(table[column.name], column) for column in features})
    seen = [line for name in columns for line in _unheld(name, wide[name].to_numpy())]
    if exact is not None:
        seen += _answered_otherwise(wide.head(_LOOKED_AT), columns, exact, tolerance)
    return found(
        CHECK,
        "alerted",
        seen,
        "proved the graph on float32 numbers, as devices feed them",
        "take a large offset off the column (or the column out), or fit the model on float32 numbers",
    )


def _as_given(series: pd.Series, column: Column) -> Array:
    if column.kind != "number":
        return column.values
    given: Array = pd.to_numeric(series, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    return given


def _narrow(values: Array) -> Array:
    """Return the numbers as float32 holds them, infinite ones missing, in float64."""
    with np.errstate(over="ignore"):
        narrow: Array = values.astype(np.float32).astype(np.float64)
    narrow[np.isinf(narrow)] = np.nan
    return narrow


def _unheld(name: str, values: Array) -> Iterator[str]:
    """Say which whole numbers float32 does not hold, the farthest off first."""
    present = values[np.isfinite(values)]
    whole = present[present == np.round(present)]
    off = np.abs(_narrow(whole) - whole)
    beyond = int(np.isnan(off).sum())
    if beyond:
        value = whole[np.isnan(off)][0]
        yield f"column {name!r}: {value:g} is beyond float32 and counts as missing ({beyond} of {len(values)} rows)"
    changed = int((off > 0).sum())
    if changed:
        at = int(np.nanargmax(off))
        yield (
            f"column {name!r}: {whole[at]:.0f} is {_narrow(whole)[at]:.0f} in float32, off by {off[at]:.0f} "
            f"({changed} of {len(values)} rows are off)"
        )


def _answered_otherwise(
    wide: pd.DataFrame, columns: Sequence[str], exact: Exact, tolerance: Tolerance
) -> Iterator[str]:
    """Say to which rows the original answers otherwise in float32, and which column makes the difference."""
    narrow = wide.assign(**{name: _narrow(wide[name].to_numpy()) for name in columns})
    try:
        before, after = exact(wide), exact(narrow)
    except (ValueError, ImportRefusedError):
        return  # what the original does not take, the proof tells
    away = _away(before, after, tolerance)
    rows = np.flatnonzero(away > 0)
    for row in sorted(rows, key=lambda place: -away[place])[:_TRACED]:
        cause = _cause(wide, narrow, int(row), columns, exact, tolerance)
        yield f"row {row + 1}: the model answers {_shown(before[row], after[row])} in float32{cause}"
    if len(rows) > _TRACED:
        yield f"{len(rows) - _TRACED} more of {len(wide)} rows are answered otherwise in float32"


def _away(before: Array, after: Array, tolerance: Tolerance) -> Array:
    """Return by how much each row's answers lie farther apart than they may, (rows,); NaN on one side is farthest."""
    before, after = (np.asarray(each, dtype=np.float64).reshape(len(each), -1) for each in (before, after))
    apart = np.abs(before - after) - (tolerance.absolute + tolerance.relative * np.abs(before))
    apart[np.isnan(before) & np.isnan(after)] = 0.0
    found: Array = np.nan_to_num(apart, nan=np.inf).max(axis=1)
    return found


def _shown(before: Any, after: Any) -> str:
    before, after = np.ravel(before), np.ravel(after)
    at = int(np.argmax(np.abs(before - after)))
    return f"{before[at]:.6g} to the sample's numbers and {after[at]:.6g}"


def _cause(
    wide: pd.DataFrame,
    narrow: pd.DataFrame,
    row: int,
    columns: Sequence[str],
    exact: Exact,
    tolerance: Tolerance,
) -> str:
    """Name the column whose float32 value alone makes the difference, if there is one."""
    one = wide.iloc[[row]]
    changed = [name for name in columns if wide[name].iat[row] != narrow[name].iat[row]]
    before = exact(one)
    for name in changed:
        value, near = float(wide[name].iat[row]), float(narrow[name].iat[row])
        if _away(before, exact(one.assign(**{name: near})), tolerance)[0] > 0:
            return (
                f": column {name!r} holds {value!r}, which is {near!r} there, off by {abs(near - value):.2g}; a "
                "threshold of the model lies between the two"
            )
    return f", by {len(changed)} columns together"
