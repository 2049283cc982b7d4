"""Units that changed partway: kPa that became Pa, degrees Fahrenheit that became Celsius.

The rows are cut where the two parts differ most. A change of unit is told only if the parts have almost nothing in
common, if the values jump at the cut itself, and if a conversion that plants use lays one part onto the other.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from trainer.columns import Column
from trainer.guardrails.rail import Guardrail, evenly, found, quoted
from trainer.guardrails.shift import distance

#: Rows that are looked at, and the fewest on either side of a cut.
ROWS, MIN_PART = 2_000, 20
#: Distances (of 1) of the parts as they stand, and after the conversion.
APART, TOGETHER = 0.8, 0.3
#: Rows on either side of the cut that must jump as well.
NEAR = 20


class Conversion(NamedTuple):
    """From one unit to another: value * factor + offset."""

    words: str
    factor: float
    offset: float = 0.0


CONVERSIONS = (
    Conversion("a factor of 1000 (as from k to the unit)", 1000.0),
    Conversion("a factor of 1,000,000", 1e6),
    Conversion("a factor of 100 (as from m to cm, bar to kPa or a share to percent)", 100.0),
    Conversion("a factor of 10 (as from cm to mm, or bar to MPa)", 10.0),
    Conversion("a factor of 60 (as from minutes to seconds)", 60.0),
    Conversion("a factor of 3600 (as from hours to seconds)", 3600.0),
    Conversion("a factor of 3.6 (as from m/s to km/h)", 3.6),
    Conversion("a factor of 25.4 (as from inches to mm)", 25.4),
    Conversion("a factor of 2.205 (as from kg to lb)", 2.20462),
    Conversion("a factor of 6.895 (as from psi to kPa)", 6.89476),
    Conversion("a factor of 14.504 (as from bar to psi)", 14.5038),
    Conversion("degrees Celsius and Fahrenheit", 1.8, 32.0),
    Conversion("degrees Celsius and kelvin", 1.0, 273.15),
)


def unit_rail(features: Sequence[Column]) -> Guardrail:
    seen, names = [], []
    for column in features:
        if column.kind == "number" and (why := _change(column.values)):
            seen.append(f"{column.name!r} {why}")
            names.append(column.name)
    if not seen:
        return Guardrail("changed units", "passed")
    done = "nothing: which unit the line will send is not in the table"
    override = f"bring the column to one unit, or --drop {quoted(names[0])}"
    return found("changed units", "alerted", seen, done, override, names)


def _change(values: np.ndarray[Any, Any]) -> str | None:
    rows = evenly(len(values), ROWS)
    rows = rows[~np.isnan(values[rows])]
    series = values[rows].astype(np.float64)
    if len(series) < 2 * MIN_PART:
        return None
    cut = _cut(series)
    before, after = series[:cut], series[cut:]
    if distance(before, after) < APART or not _jumps(before, after):
        return None
    for conversion in CONVERSIONS:
        for old, new in ((before, after), (after, before)):
            if distance(old * conversion.factor + conversion.offset, new) < TOGETHER and np.ptp(old) > 0:
                return (
                    f"changes at about row {int(rows[cut]) + 1} from {np.median(before):.4g} to {np.median(after):.4g} "
                    f"in the median, which is {conversion.words}: did its unit change?"
                )
    return None


def _jumps(before: np.ndarray[Any, Any], after: np.ndarray[Any, Any]) -> bool:
    """Whether the values change at the cut itself by about what the parts differ, and do not climb there."""
    here = float(np.median(after[:NEAR]) - np.median(before[-NEAR:]))
    whole = float(np.median(after) - np.median(before))
    return distance(before[-NEAR:], after[:NEAR]) >= APART and abs(here - whole) < 0.5 * abs(whole)


def _cut(series: np.ndarray[Any, Any]) -> int:
    """Where the ranks of the values change most (CUSUM), so that neither scale nor outliers matter."""
    ranks = np.unique(series, return_inverse=True)[1].astype(np.float64)
    drift = np.abs(np.cumsum(ranks - ranks.mean()))[MIN_PART - 1 : -MIN_PART]
    return MIN_PART + int(drift.argmax())
