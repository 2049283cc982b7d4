"""Rows that come twice: they must not be on both sides of the split, and what they contradict, no model can learn."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from trainer.columns import Column
from trainer.guardrails.rail import Guardrail, State, found
from trainer.targets import Target

#: Rows that no model can get right, because others of the same inputs say otherwise: alerted from this share.
CONTRADICTING = 0.01
#: The same for a number: share of its variance that lies between rows of the same inputs.
SCATTER = 0.1

_MIX = np.uint64(0x9E3779B97F4A7C15)


def identical_rows(features: Sequence[Column]) -> np.ndarray[Any, Any]:
    """Number the rows so that those with the same value in every column have the same number, shape (rows,)."""
    mixed = np.zeros(len(features[0].values), dtype=np.uint64)
    for column in features:
        mixed = (mixed ^ _codes(column)) * _MIX
        mixed ^= mixed >> np.uint64(29)
    return np.asarray(pd.factorize(mixed)[0])


class Fate(NamedTuple):
    """What the division makes of rows with the same inputs."""

    state: State
    done: str
    override: str


_TAKE_OUT = "take the repeated rows out of the data, if each was measured once"
APART = Fate("done", "kept them; rows with the same inputs are either learned from or held out, never both", _TAKE_OUT)


def unrepeated(older: np.ndarray[Any, Any], newer: np.ndarray[Any, Any]) -> np.ndarray[Any, Any] | None:
    """Say which of the older rows do not come again among the newer; None where too few would be left to learn from.

    Args:
        older, newer: the rows as `identical_rows` numbers them.
    """
    alone = ~np.isin(older, newer)
    # A table of a few different rows over and over would have nothing left.
    return alone if int(alone.sum()) >= len(older) // 2 else None


def fate_in_time(older: np.ndarray[Any, Any], newer: np.ndarray[Any, Any]) -> Fate:
    """Say what becomes of older rows that come again among the newest, which are held out."""
    again = int(np.isin(older, newer).sum())
    if not again:
        return APART
    if unrepeated(older, newer) is not None:
        done = f"left out {again} older rows that come again among the newest, which are held out"
        return Fate("done", done, "--validate random, which keeps the same rows on one side")
    done = (
        f"kept them; {again} of the {len(older)} older rows come again among the newest, which are held out, and "
        "without them too few would be left: so the same rows are both learned from and held out, and the figures "
        "promise too much"
    )
    return Fate("alerted", done, f"--validate random, which keeps the same rows on one side; or {_TAKE_OUT}")


def duplicate_rails(groups: np.ndarray[Any, Any], target: Target, fate: Fate) -> list[Guardrail]:
    """Say which rows repeat others, what becomes of them, and which of them contradict.

    Args:
        groups: as `identical_rows` numbers them.
    """
    rows, different = len(groups), int(groups.max()) + 1
    if rows == different:
        return [Guardrail("duplicate rows", "passed"), Guardrail("contradicting rows", "passed")]
    labels = np.asarray(pd.factorize(target.values)[0])
    pairs = pd.factorize(groups.astype(np.int64) * (int(labels.max()) + 1) + labels)[0]
    exact = rows - (int(pairs.max()) + 1)
    seen = f"{rows - different} rows repeat the inputs of an earlier one, {exact} of them with the same target"
    twice = found("duplicate rows", fate.state, [seen], fate.done, fate.override)
    look = _scatter if target.task == "regression" else _contradictions
    return [twice, look(groups, labels if target.task == "classification" else target.values)]


def _contradictions(groups: np.ndarray[Any, Any], labels: np.ndarray[Any, Any]) -> Guardrail:
    counts = pd.Series(1, index=pd.MultiIndex.from_arrays([groups, labels])).groupby(level=[0, 1]).sum()
    best = counts.groupby(level=0).max()
    wrong = len(groups) - int(best.sum())
    torn = counts.groupby(level=0).sum()[counts.groupby(level=0).size() > 1].sum()
    if not wrong:
        return Guardrail("contradicting rows", "passed")
    share = wrong / len(groups)
    seen = (
        f"{int(torn)} rows have the inputs of another row and not its label: no model of these columns can be right "
        f"on more than {1 - share:.1%} of the rows"
    )
    state: State = "alerted" if share > CONTRADICTING else "done"
    return found("contradicting rows", state, [seen], "kept them all", "add the column that tells them apart")


def _scatter(groups: np.ndarray[Any, Any], values: np.ndarray[Any, Any]) -> Guardrail:
    exact = values.astype(np.float64)
    counts = np.bincount(groups)
    means = np.bincount(groups, weights=exact) / counts
    share = float(((exact - means[groups]) ** 2).sum() / max(((exact - exact.mean()) ** 2).sum(), 1e-300))
    if share <= SCATTER:
        return Guardrail("contradicting rows", "passed")
    seen = f"rows with the same inputs differ in the target by {share:.0%} of its variance: no model can explain that"
    return found("contradicting rows", "alerted", [seen], "kept them all", "add the column that tells them apart")


def _codes(column: Column) -> np.ndarray[Any, Any]:
    """A number for each value, equal where the values are, shape (rows,), uint64."""
    if column.kind != "number":
        return np.asarray(pd.factorize(column.values)[0]).astype(np.uint64)
    values = column.values + np.float32(0)  # one zero, not two
    values[np.isnan(values)] = np.float32(np.nan)
    return values.view(np.uint32).astype(np.uint64)
