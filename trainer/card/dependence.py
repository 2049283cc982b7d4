"""Partial dependence and effects, by the graph itself: one input is moved, the others stay as they were measured.

Source: Friedman, "Greedy Function Approximation: A Gradient Boosting Machine", section 8.2.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from protocols.card import Curve, Effect
from protocols.manifest import Task
from trainer.columns import Column
from trainer.graphs import followed_output, run_graph, to_feed
from trainer.guardrails.rail import evenly

#: Rows over which an output is averaged, and values at which.
ROWS, POINTS = 200, 15
#: Columns from which on a call costs so much by itself that all values go into one.
WIDE = 500
#: A curve goes over this part of the range seen (percent); an effect over the part between the deciles.
ENDS, DECILES = (2.0, 98.0), (10.0, 90.0)


@dataclass(frozen=True, slots=True)
class Output:
    """Whose movement is looked at: a prediction, or the probability of one class.

    Attributes:
        place: of the class in question, where there are two.
    """

    task: Task
    classes: tuple[str, ...]
    place: int | None

    def pick(self, means: np.ndarray[Any, Any]) -> tuple[np.ndarray[Any, Any], str]:
        """Return one output's means, shape (values,), and its name.

        Of two classes the one in question, of more the one that moves most.

        Args:
            means: of each output at each value, shape (values, outputs).
        """
        if self.task == "regression":
            return means[:, 0], "prediction"
        place = int(np.ptp(means, axis=0).argmax()) if self.place is None else self.place
        return means[:, place], f"probability of {self.classes[place]!r}"


def dependence(
    session: Any,
    features: Sequence[Column],
    column: Column,
    rows: np.ndarray[Any, Any],
    output: Output,
    over: Callable[[], bool],
) -> tuple[Curve, Effect] | None:
    """Return a column's curve over held-out rows and its effect; None where the time ran out."""
    rows = rows[evenly(len(rows), ROWS)]
    present = column.values[~column.missing]
    if column.kind == "number":
        low, high = (float(value) for value in np.percentile(present, ENDS))
        grid = np.linspace(low, high, POINTS).astype(np.float32)
        deciles = np.percentile(present, DECILES).astype(np.float32)
        found = _means(session, features, column, rows, np.concatenate([grid, deciles]), over)
        if found is None:
            return None
        means, of = output.pick(found)
        curve = Curve(column.name, of, tuple(_plain(grid)), tuple(_plain(means[:POINTS])))
        start, end = _plain(deciles)
        return curve, Effect(column.name, of, start, end, float(means[-2]), float(means[-1]))
    values, counts = np.unique(present, return_counts=True)
    common = values[np.lexsort((values, -counts))[:POINTS]]
    found = _means(session, features, column, rows, common, over)
    if found is None:
        return None
    means, of = output.pick(found)
    least, most = int(means.argmin()), int(means.argmax())
    curve = Curve(column.name, of, tuple(str(value) for value in common), tuple(_plain(means)))
    return curve, Effect(
        column.name, of, str(common[least]), str(common[most]), float(means[least]), float(means[most])
    )


def _means(
    session: Any,
    features: Sequence[Column],
    column: Column,
    rows: np.ndarray[Any, Any],
    values: np.ndarray[Any, Any],
    over: Callable[[], bool],
) -> np.ndarray[Any, Any] | None:
    """Mean outputs over the rows with the column at each value, shape (values, outputs); None: the time ran out."""
    at_once = 1 if len(features) < WIDE else len(values)
    means = []
    for first in range(0, len(values), at_once):
        if first and over():
            return None
        some = values[first : first + at_once]
        feed = to_feed(features, np.tile(rows, len(some)))
        feed[column.name] = np.repeat(some, len(rows)).reshape(-1, 1)
        output = followed_output(run_graph(session, feed)).astype(np.float64)
        means.append(output.reshape(len(some), len(rows), -1).mean(axis=1))
    return np.concatenate(means)


def _plain(values: np.ndarray[Any, Any]) -> list[float]:
    return [float(value) for value in values]
