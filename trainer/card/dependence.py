"""Partial dependence and effects, by the graph itself: one input is moved, the others stay as they were measured.

Source: Friedman, "Greedy Function Approximation: A Gradient Boosting Machine", section 8.2.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from protocols.card import Curve, Effect
from protocols.manifest import Task
from trainer.card.moments import comparable
from trainer.columns import Column
from trainer.graphs import followed_output, run_graph, to_feed
from trainer.guardrails.rail import evenly

Array = np.ndarray[Any, Any]
Drawn = tuple[Curve, Effect]

#: Rows over which an output is averaged, and values at which.
ROWS, POINTS = 200, 15
#: Columns from which on a call costs so much by itself that all values go into one.
WIDE = 500
#: A curve goes over this part of the range seen (percent); an effect over the part between the deciles.
ENDS, DECILES = (2.0, 98.0), (10.0, 90.0)
#: By which moments are dealt to rows: their order must not be that of the rows, which may be that of time.
SEED = 0


@dataclass(frozen=True, slots=True)
class Output:
    """Whose movement is looked at: a prediction, or the probability of one class.

    Attributes:
        place: of the class in question, where there are two.
    """

    task: Task
    classes: tuple[str, ...]
    place: int | None

    def pick(self, means: Array) -> tuple[Array, str]:
        """Return one output's means, shape (values,), and its name.

        Of two classes the one in question, of more the one that moves most.

        Args:
            means: of each output at each value, shape (values, outputs).
        """
        if self.task == "regression":
            return means[:, 0], "prediction"
        place = int(np.ptp(means, axis=0).argmax()) if self.place is None else self.place
        return means[:, place], f"probability of {self.classes[place]!r}"


@dataclass(frozen=True, slots=True)
class _Mover:
    """Held-out rows, of which one column is moved."""

    session: Any
    features: Sequence[Column]
    column: Column
    rows: Array
    over: Callable[[], bool]

    def means(self, values: Sequence[Any] | Array) -> Array | None:
        """Mean outputs over the rows with the column at each value, shape (values, outputs); None: the time ran out.

        Args:
            values: each one for all rows, or one for each row, shape (rows,).
        """
        count = len(self.rows)
        at_once = 1 if len(self.features) < WIDE else len(values)
        found = []
        for first in range(0, len(values), at_once):
            if first and self.over():
                return None
            some = values[first : first + at_once]
            feed = to_feed(self.features, np.tile(self.rows, len(some)))
            kind = self.column.values.dtype
            feed[self.column.name] = np.concatenate([np.full(count, value, dtype=kind) for value in some])[:, None]
            output = followed_output(run_graph(self.session, feed)).astype(np.float64)
            found.append(output.reshape(len(some), count, -1).mean(axis=1))
        return np.concatenate(found)


def dependence(
    session: Any,
    features: Sequence[Column],
    column: Column,
    rows: Array,
    output: Output,
    over: Callable[[], bool],
) -> Drawn | None:
    """Return a column's curve over held-out rows and its effect; None where the time ran out.

    A number goes over its range, a category over its common values, and a column of points in time over the parts of
    the day, of the week or of the year, whichever moves the output most: it must have some (`moments.comparable`).
    """
    mover = _Mover(session, features, column, rows[evenly(len(rows), ROWS)], over)
    if column.cycles is not None:
        return _of_moments(mover, output)
    if column.kind == "number":
        return _of_numbers(mover, output)
    present = column.values[~column.missing]
    values, counts = np.unique(present, return_counts=True)
    common = values[np.lexsort((values, -counts))[:POINTS]]
    found = mover.means(common)
    return None if found is None else _of_names(column.name, [str(value) for value in common], *output.pick(found))


def _of_numbers(mover: _Mover, output: Output) -> Drawn | None:
    name, present = mover.column.name, mover.column.values[~mover.column.missing]
    low, high = (float(value) for value in np.percentile(present, ENDS))
    grid = np.linspace(low, high, POINTS).astype(np.float32)
    deciles = np.percentile(present, DECILES).astype(np.float32)
    found = mover.means(np.concatenate([grid, deciles]))
    if found is None:
        return None
    means, of = output.pick(found)
    curve = Curve(name, of, tuple(_plain(grid)), tuple(_plain(means[:POINTS])))
    start, end = _plain(deciles)
    return curve, Effect(name, of, start, end, float(means[-2]), float(means[-1]))


def _of_moments(mover: _Mover, output: Output) -> Drawn | None:
    """Each row's moment becomes one of a part of the day, week or year, of those that the table has of it."""
    random = np.random.default_rng(SEED)
    drawn: list[Drawn] = []
    for parts in comparable(mover.column):
        moved = [np.resize(random.permutation(texts), len(mover.rows)) for _, texts in parts]
        found = mover.means(moved)
        if found is None:
            return None
        drawn.append(_of_names(mover.column.name, [name for name, _ in parts], *output.pick(found)))
    return max(drawn, key=lambda one: abs(one[1].change))


def _of_names(name: str, at: Sequence[str], means: Array, of: str) -> Drawn:
    """Of values without an order: the effect is that from the lowest mean to the highest."""
    least, most = int(means.argmin()), int(means.argmax())
    curve = Curve(name, of, tuple(at), tuple(_plain(means)))
    return curve, Effect(name, of, at[least], at[most], float(means[least]), float(means[most]))


def _plain(values: Array) -> list[float]:
    return [float(value) for value in values]
